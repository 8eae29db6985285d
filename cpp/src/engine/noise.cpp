// Hashes positions to integers and integers to Gaussians.
#include "engine/noise.h"

#include <cmath>

namespace ravel::engine {

namespace {

// The 32-bit finaliser of MurmurHash3 (Appleby, public domain).
constexpr std::uint32_t mix(std::uint32_t x) noexcept {
  x ^= x >> 16;
  x *= 0x85EBCA6Bu;
  x ^= x >> 13;
  x *= 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// Inverse error function by the rational-free polynomials of Giles (GPU Computing Gems, 2011), relative error 3e-7.
double inverse_erf(double x) noexcept {
  double w = -std::log((1 - x) * (1 + x));
  double p;
  if (w < 5) {
    w -= 2.5;
    p = 2.81022636e-08;
    for (const double c : {3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
                           -0.00417768164, 0.246640727, 1.50140941}) {
      p = c + p * w;
    }
  } else {
    w = std::sqrt(w) - 3;
    p = -0.000200214257;
    for (const double c : {0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
                           1.00167406, 2.83297682}) {
      p = c + p * w;
    }
  }
  return p * x;
}

}  // namespace

NoiseState::NoiseState(const Noise& noise, int streams)
    : noise_(noise),
      streams_(streams),
      base_(static_cast<std::size_t>(streams) * noise.channels),
      mixed_(base_.size()) {
  reset(0);
}

void NoiseState::reset(std::int64_t seed) noexcept {
  frame_ = 0;
  reseed(seed);
}

void NoiseState::reseed(std::int64_t seed) noexcept {
  seed_ = seed;
  const std::uint32_t of_node =
      mix(static_cast<std::uint32_t>(seed) ^ static_cast<std::uint32_t>(noise_.node) * 0x9E3779B9u);
  for (int stream = 0; stream < streams_; ++stream) {
    const std::uint32_t of_stream = mix(of_node ^ static_cast<std::uint32_t>(stream));
    for (int c = 0; c < noise_.channels; ++c) {
      base_[static_cast<std::size_t>(stream) * noise_.channels + c] =
          mix(of_stream + 0x9E3779B9u + static_cast<std::uint32_t>(c));
    }
  }
  mix_high(frame_ >> 32);
}

void NoiseState::mix_high(std::int64_t high) noexcept {
  high_ = high;
  for (std::size_t i = 0; i < base_.size(); ++i)
    mixed_[i] = mix(base_[i] ^ static_cast<std::uint32_t>(high)) + 0x7F4A7C15u;
}

const std::uint32_t* NoiseState::keys(int stream, int frame) noexcept {
  const std::int64_t high = (frame_ + frame) >> 32;
  if (high != high_) mix_high(high);
  return mixed_.data() + static_cast<std::size_t>(stream) * noise_.channels;
}

float NoiseState::uniform(int stream, int frame, int channel) noexcept {
  return static_cast<float>(mix(keys(stream, frame)[channel] ^ low(frame)) >> 8) * 0x1p-24f;
}

void NoiseState::gaussian(int stream, int frame, float* y) noexcept {
  const std::uint32_t* key = keys(stream, frame);
  for (int c = 0; c < noise_.channels; ++c) {
    const std::uint32_t bits = mix(key[c] ^ low(frame));
    // the top 23 bits: with 24, the half that keeps away from +-1 would round up to it
    const double x = ((bits >> 9) + 0.5) * 0x1p-22 - 1.0;
    y[c] = static_cast<float>(inverse_erf(x) * 1.4142135623730951);
  }
}

}  // namespace ravel::engine
