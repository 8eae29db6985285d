// The kernels for x86-64 with AVX2 and FMA (Haswell 2013, Zen 2017 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::avx2;
constexpr int kTileRows[2][6] = {{8, 6, 4, 3, 2, 1}, {8, 4, 3, 2, 2, 1}};

// GFLOP/s over the peak's 117 in percent, 384x3-384 on Zen 4, for 1, 2, and 4 or more rows; panels of
// 1, 2, 3, 4, 6 and 8 vectors.
constexpr int kShares[2][3][6] = {
    {{12, 25, 36, 41, 40, 41}, {24, 48, 65, 72, 77, 45}, {65, 92, 96, 93, 79, 48}},  // float weights
    {{12, 25, 36, 47, 66, 70}, {25, 49, 70, 88, 92, 74}, {70, 83, 80, 90, 95, 75}},  // bfloat16 weights
};

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_AVX2, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& avx2_table() noexcept { return kTable; }

}  // namespace ravel::kernels
