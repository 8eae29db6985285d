// The kernels for x86-64 with AVX2 and FMA (Haswell 2013, Zen 2017 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::avx2;
constexpr int kAccumulators = 12;

constexpr float column_cost(int vectors, int) noexcept { return vectors == 1 ? 2.0f : vectors == 2 ? 1.2f : 1.0f; }

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_AVX2, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& avx2_table() noexcept { return kTable; }

}  // namespace ravel::kernels
