// Aligned memory, by the page size that suits it.
#include "engine/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/pack.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ravel::engine {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

Arena::Arena(std::size_t bytes) : bytes_(bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kernels::kAlignment;
  const std::size_t size = rounded_up(std::max<std::size_t>(bytes, 1), alignment);
#if defined(_MSC_VER)
  auto* data = static_cast<std::byte*>(_aligned_malloc(size, alignment));
#else
  auto* data = static_cast<std::byte*>(std::aligned_alloc(alignment, size));
#endif
  if (data == nullptr) throw std::bad_alloc();
  data_.reset(data);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(data, size, MADV_HUGEPAGE);
#endif
  std::memset(data, 0, size);
}

void Arena::Free::operator()(std::byte* data) const noexcept {
#if defined(_MSC_VER)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace ravel::engine
