// Weights of a model file, laid out as the kernels read them.
#include "pack.h"

#include <bit>
#include <string>

#include "ravel/error.h"

namespace ravel::kernels {
namespace {

int panels_of(int outputs, int width) noexcept { return (outputs + width - 1) / width; }

// Values of a panel row: one input for every output, or a pair of inputs.
int group_of(Format format) noexcept { return format == f32 ? 1 : 2; }

std::size_t aligned(std::size_t bytes) noexcept { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t data_bytes(int outputs, int taps, int run, int width, Format format) noexcept {
  const int group = group_of(format);
  const std::size_t values =
      std::size_t(panels_of(outputs, width)) * taps * ((run + group - 1) / group) * group * width;
  return aligned(values * (format == f32 ? sizeof(float) : sizeof(std::uint16_t)));
}

template <class T, class Round>
void fill(const float* weight, int outputs, int taps, int run, int width, int group, Round round, T* out) {
  const int padded = (run + group - 1) / group * group;
  for (int first = 0; first < outputs; first += width)
    for (int tap = 0; tap < taps; ++tap)
      for (int i = 0; i < padded; i += group)
        for (int o = first; o < first + width; ++o)
          for (int k = i; k < i + group; ++k) {
            const bool inside = o < outputs && k < run;
            *out++ = inside ? round(weight[(std::size_t(o) * taps + tap) * run + k]) : T(0);
          }
}

}  // namespace

std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::uint16_t((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float from_bf16(std::uint16_t value) noexcept { return std::bit_cast<float>(std::uint32_t(value) << 16); }

std::size_t packed_bytes(int outputs, int taps, int run, int width, Format format, bool has_bias) noexcept {
  const std::size_t bias = has_bias ? aligned(sizeof(float) * panels_of(outputs, width) * width) : 0;
  return data_bytes(outputs, taps, run, width, format) + bias;
}

Weights pack(const float* weight, const float* bias, int outputs, int taps, int run, int width, Format format,
             void* memory) {
  if (format == bf16_dot && run % 2 != 0)
    throw Error("bf16_dot weights: a run of " + std::to_string(run) + " inputs is odd; pack them as bf16");
  Weights w{format, taps, run, outputs, width, panels_of(outputs, width), memory, nullptr};
  if (format == f32) {
    fill(
        weight, outputs, taps, run, width, 1, [](float v) { return v; }, static_cast<float*>(memory));
  } else {
    fill(weight, outputs, taps, run, width, 2, to_bf16, static_cast<std::uint16_t*>(memory));
  }
  if (bias) {
    float* padded =
        reinterpret_cast<float*>(static_cast<std::byte*>(memory) + data_bytes(outputs, taps, run, width, format));
    for (int o = 0; o < w.panels * width; ++o) padded[o] = o < outputs ? bias[o] : 0.0f;
    w.bias = padded;
  }
  return w;
}

}  // namespace ravel::kernels
