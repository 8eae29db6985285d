// The kernels for x86-64 with AVX-512 F, BW, CD, DQ, VL (Skylake-X 2017, Zen 4 2022 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::avx512;
constexpr int kTileRows[2][6] = {{8, 8, 8, 6, 4, 3}, {8, 8, 8, 6, 4, 3}};

// GFLOP/s over the peak's 115 in percent, 384x3-384 on Zen 4, for 1, 2, and 4 or more rows; panels of
// 1, 2, 3, 4, 6 and 8 vectors. Few sums cost more where two units of four cycles wait for them (Intel, Zen 5): where
// Zen 4 shows no difference, more vectors count one percent more.
constexpr int kShares[2][3][6] = {
    {{25, 39, 40, 41, 42, 42}, {50, 70, 77, 79, 81, 78}, {85, 95, 97, 99, 100, 84}},  // float weights
    {{25, 50, 69, 74, 75, 75}, {50, 84, 93, 97, 98, 98}, {85, 95, 97, 99, 100, 97}},  // bfloat16 weights
};

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_AVX3, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& avx512_table() noexcept { return kTable; }

}  // namespace ravel::kernels
