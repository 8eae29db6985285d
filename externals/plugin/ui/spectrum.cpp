// See spectrum.h.
#include "spectrum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace ravel::plugin::ui {

namespace {

constexpr double kTau = 2 * std::numbers::pi;

}  // namespace

Spectrum::Spectrum() : window_(kSize), column_(kRows), bins_(kSize), turns_(kSize / 2) {
  for (std::size_t i = 0; i < kSize; ++i)
    window_[i] = static_cast<float>(0.5 - 0.5 * std::cos(kTau * static_cast<double>(i) / kSize));
  for (std::size_t i = 0; i < kSize / 2; ++i)
    turns_[i] = std::polar(1.0F, static_cast<float>(-kTau * static_cast<double>(i) / kSize));
}

bool Spectrum::next(const Ring<Feed::kSamples>& ring, float sample_rate_hz) {
  const auto hop = static_cast<std::uint64_t>(std::max(1.0F, sample_rate_hz / kColumns_hz));
  const std::uint64_t written = ring.written();
  // A reader that was away, or meets a new writer, goes on at the present; the margin is what may be overwritten now.
  const std::uint64_t margin = Feed::kSamples / 4;
  if (written < read_ || written - read_ > Feed::kSamples - margin - kSize) read_ = written - std::min(written, hop);
  if (written < kSize || written - read_ < hop) return false;
  read_ += hop;

  peak_ = 0;
  const std::uint64_t first = std::max<std::uint64_t>(read_, kSize) - kSize;
  for (std::size_t i = 0; i < kSize; ++i) {
    const float sample = ring.at(first + i);
    if (i + hop >= kSize) peak_ = std::max(peak_, std::abs(sample));
    bins_[i] = std::isfinite(sample) ? sample * window_[i] : 0.0F;
  }
  transform();
  fold(sample_rate_hz);
  return true;
}

// Radix 2, in place, decimated in time.
void Spectrum::transform() {
  constexpr int kBits = std::bit_width(kSize) - 1;
  for (std::size_t i = 0; i < kSize; ++i) {
    std::size_t reversed = 0;
    for (int b = 0; b < kBits; ++b) reversed |= (i >> b & 1U) << (kBits - 1 - b);
    if (reversed > i) std::swap(bins_[i], bins_[reversed]);
  }
  for (std::size_t half = 1; half < kSize; half *= 2) {
    const std::size_t stride = kSize / (2 * half);
    for (std::size_t start = 0; start < kSize; start += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        const std::complex<float> w = turns_[i * stride], odd = bins_[start + half + i], even = bins_[start + i];
        const std::complex<float> turned{w.real() * odd.real() - w.imag() * odd.imag(),
                                         w.real() * odd.imag() + w.imag() * odd.real()};
        bins_[start + i] = even + turned;
        bins_[start + half + i] = even - turned;
      }
    }
  }
}

// The loudest bin of each row, in decibels of a full-scale sine, lifted by 3 dB an octave as music falls.
void Spectrum::fold(float sample_rate_hz) {
  const float bin_hz = sample_rate_hz / kSize, octaves = std::log2(kHighest_hz / kLowest_hz);
  silent_ = true;
  for (int row = 0; row < kRows; ++row) {
    const auto edge = [&](int r) { return kLowest_hz * std::exp2(octaves * static_cast<float>(r) / kRows) / bin_hz; };
    const auto from = static_cast<std::size_t>(edge(row));
    const auto to = std::min(std::max(static_cast<std::size_t>(edge(row + 1)), from + 1), kSize / 2);
    float power = 0;
    for (std::size_t bin = from; bin < to; ++bin) power = std::max(power, std::norm(bins_[bin]));
    const float db = 10 * std::log10(power + 1e-20F) - 20 * std::log10(static_cast<float>(kSize) / 4) +
                     3 * (octaves * static_cast<float>(row) / kRows - octaves / 2);
    float& value = column_[static_cast<std::size_t>(row)];
    value = std::clamp(1 - db / kFloor_db, 0.0F, 1.0F);
    silent_ = silent_ && value == 0;
  }
}

}  // namespace ravel::plugin::ui
