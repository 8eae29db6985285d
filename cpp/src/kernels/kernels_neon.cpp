// The kernels for 64-bit Arm.
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::neon;
constexpr int kTileRows[2][6] = {{8, 8, 8, 6, 4, 3}, {8, 8, 8, 6, 4, 3}};

// Guessed, not measured: wide panels until there are rows enough to keep four pipes of four cycles busy; panels of
// 1, 2, 3, 4, 6 and 8 vectors.
constexpr int kShares[2][3][6] = {
    {{12, 25, 37, 50, 75, 95}, {25, 50, 70, 85, 95, 98}, {80, 90, 95, 100, 100, 95}},  // float weights
    {{12, 25, 37, 50, 75, 95}, {25, 50, 70, 85, 95, 98}, {80, 90, 95, 100, 100, 95}},  // bfloat16 weights
};

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_NEON, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& neon_table() noexcept { return kTable; }

}  // namespace ravel::kernels
