// The list of controls.
#include "player/board.h"

#include <cmath>
#include <limits>

namespace ravel {

namespace {
constexpr ControlInfo kControls[] = {
    {"input_gain", "dB", -60, 24, 0}, {"output_gain", "dB", -60, 24, 0},
    {"drywet", "", 0, 1, 1},          {"temperature", "", 0, 10, 0},
    {"noise_latent", "", 0, 10, 0},   {"fill", "", 0, 10, 0},
    {"morph", "", 0, 1, 0},           {"width", "", 0, 2, 1},
};
static_assert(std::size(kControls) == static_cast<std::size_t>(Control::count_));
constexpr const char* kSwitches[] = {"bypass", "freeze", "noise", "morphing"};
static_assert(std::size(kSwitches) == static_cast<std::size_t>(Switch::count_));
}  // namespace

const ControlInfo& info(Control control) noexcept { return kControls[static_cast<std::size_t>(control)]; }
const char* name(Switch which) noexcept { return kSwitches[static_cast<std::size_t>(which)]; }

namespace player {

Board::Board() noexcept {
  for (std::size_t i = 0; i < controls.size(); ++i) controls[i] = kControls[i].initial;
  // until it is set, the model's own
  controls[static_cast<std::size_t>(Control::temperature)] = std::numeric_limits<float>::quiet_NaN();
  for (auto& s : switches) s = false;
  switches[static_cast<std::size_t>(Switch::noise)] = true;
}

float Board::value(Control control) const noexcept {
  return controls[static_cast<std::size_t>(control)].load(std::memory_order_relaxed);
}

bool Board::on(Switch which) const noexcept {
  if (which == Switch::freeze) return hold.load(std::memory_order_relaxed) != kFree;
  return switches[static_cast<std::size_t>(which)].load(std::memory_order_relaxed);
}

}  // namespace player
}  // namespace ravel
