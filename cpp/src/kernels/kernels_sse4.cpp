// The kernels for x86-64 with SSE4.2 (2008 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::sse4;
constexpr int kTileRows[2][6] = {{8, 4, 2, 2, 1, 1}, {8, 4, 2, 2, 1, 1}};

// GFLOP/s over the peak's 59 in percent, 384x3-384 on Zen 4, for 1, 2, and 4 or more rows; panels of
// 1, 2, 3, 4, 6 and 8 vectors.
constexpr int kShares[2][3][6] = {
    {{16, 33, 48, 58, 61, 62}, {32, 50, 58, 63, 62, 62}, {45, 55, 60, 65, 63, 62}},  // float weights
    {{17, 33, 47, 50, 54, 54}, {33, 54, 58, 61, 54, 54}, {45, 60, 58, 61, 54, 54}},  // bfloat16 weights
};

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_SSE4, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& sse4_table() noexcept { return kTable; }

}  // namespace ravel::kernels
