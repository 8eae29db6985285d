// The kernels for x86-64 with AVX-512 F, BW, CD, DQ, VL (Skylake-X 2017, Zen 4 2022 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::avx512;
constexpr int kAccumulators = 24;

constexpr float column_cost(int vectors, int) noexcept { return vectors == 1 ? 2.0f : vectors == 2 ? 1.2f : 1.0f; }

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_AVX3, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& avx512_table() noexcept { return kTable; }

}  // namespace ravel::kernels
