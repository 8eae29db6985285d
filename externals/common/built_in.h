// A model inside of the binary: `ravel_embed` (CMake) puts it there.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "ravel/model.h"

#ifdef RAVEL_BUILT_IN
extern "C" const std::byte ravel_model_begin[], ravel_model_end[];  // model.S.in
#endif

namespace ravel {

// The bytes of this binary's model; none where it has none.
inline std::span<const std::byte> built_in_bytes() noexcept {
#ifdef RAVEL_BUILT_IN
  return {ravel_model_begin, ravel_model_end};
#else
  return {};
#endif
}

// In memory once, however many play it. Throws Error.
std::shared_ptr<const Model> built_in_model(std::span<const std::byte> bytes);

}  // namespace ravel
