// The kernels for 64-bit Arm.
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::neon;
constexpr int kAccumulators = 24;

constexpr float column_cost(int vectors, int) noexcept { return vectors == 1 ? 2.0f : vectors == 2 ? 1.2f : 1.0f; }

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_NEON, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& neon_table() noexcept { return kTable; }

}  // namespace ravel::kernels
