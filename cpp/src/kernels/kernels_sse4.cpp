// The kernels for x86-64 with SSE4.2 (2008 on).
#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::sse4;
constexpr int kAccumulators = 8;

constexpr float column_cost(int vectors, int) noexcept { return vectors == 1 ? 2.0f : vectors == 2 ? 1.2f : 1.0f; }

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

static_assert(HWY_STATIC_TARGET == HWY_SSE4, "compiled for another instruction set than its name");

namespace ravel::kernels {

const Table& sse4_table() noexcept { return kTable; }

}  // namespace ravel::kernels
