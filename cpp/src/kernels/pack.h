// Weights of a model file, laid out as the kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace ravel::kernels {

inline constexpr std::size_t kAlignment = 64;  // bytes: a cache line, and the widest vector

// To nearest, ties to even.
std::uint16_t to_bf16(float value) noexcept;
float from_bf16(std::uint16_t value) noexcept;

// Memory that `pack` fills, a multiple of kAlignment.
std::size_t packed_bytes(int outputs, int taps, int run, int width, Format format, bool has_bias) noexcept;

// weight (outputs, taps, run), bias (outputs) or null, into packed_bytes() of memory aligned to kAlignment. The result
// points into that memory. Throws Error for bf16_dot with an odd run.
Weights pack(const float* weight, const float* bias, int outputs, int taps, int run, int width, Format format,
             void* memory);

}  // namespace ravel::kernels
