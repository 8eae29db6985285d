// What the per-processor units give to the dispatcher. Included by them: declarations only, like kernels.h.
#pragma once

#include "kernels.h"

namespace ravel::kernels {

const Table& reference_table() noexcept;
const Table& sse4_table() noexcept;
const Table& avx2_table() noexcept;
const Table& avx512_table() noexcept;
const Table& avx512_bf16_table() noexcept;
const Table& neon_table() noexcept;

// Denormals to zero in results and operands, for the calling thread (x86 MXCSR, Arm FPCR).
std::uint64_t flush_denormals() noexcept;
void restore_denormals(std::uint64_t control) noexcept;

}  // namespace ravel::kernels
