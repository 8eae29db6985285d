// In place of script.cpp in builds without libtorch: says what to do about a `.ts`.
#include "script/script.h"

namespace ravel {

bool plays_scripts() noexcept { return false; }

namespace script {

std::shared_ptr<const Script> load(const std::byte*, std::size_t, Info&) {
  throw Error(
      "is TorchScript, which this build can't play: export the model again, for a .ravel beside it, or build with "
      "-DRAVEL_WITH_LIBTORCH=ON");
}

std::unique_ptr<engine::Running> run(const std::shared_ptr<const Model>&, Method, const Settings&) { return nullptr; }

std::size_t weight_bytes(const Script&) noexcept { return 0; }

}  // namespace script
}  // namespace ravel
