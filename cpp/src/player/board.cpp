// The list of controls, and the words that pass between the threads that may wait.
#include "player/board.h"

#include <cmath>
#include <iterator>
#include <limits>
#include <ranges>

#include "model/attributes.h"

namespace ravel {

namespace {
constexpr ControlInfo kControls[] = {
    {"input_gain", "dB", -60, 24, 0}, {"output_gain", "dB", -60, 24, 0},
    {"drywet", "", 0, 1, 1},          {"temperature", "", 0, 10, 0},
    {"noise_latent", "", 0, 10, 0},   {"fill", "", 0, 10, 0},
    {"morph", "", 0, 1, 0},           {"width", "", 0, 2, 1},
    {"prior", "", 0, 1, 0},           {"prior_temperature", "", 0, 10, 1},
};
static_assert(std::size(kControls) == static_cast<std::size_t>(Control::count_));
constexpr const char* kSwitches[] = {"bypass", "freeze", "noise", "morphing"};
static_assert(std::size(kSwitches) == static_cast<std::size_t>(Switch::count_));
}  // namespace

const ControlInfo& info(Control control) noexcept { return kControls[static_cast<std::size_t>(control)]; }
const char* name(Switch which) noexcept { return kSwitches[static_cast<std::size_t>(which)]; }

namespace player {

void Messages::say(std::string text) {
  const std::lock_guard lock(mutex_);
  newest_ = std::move(text);
}

std::string Messages::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(newest_, {});
}

MessageHook Messages::hook() noexcept {
  return {this, [](void* self, const char* text) noexcept { static_cast<Messages*>(self)->say(text); }};
}

void AttributeBoard::set(const std::string& name, Values values) {
  const std::lock_guard lock(mutex_);
  std::erase_if(calls_, [&](const Call& call) { return call.name == name && replaces(values, call.values); });
  const std::int64_t serial = newest_.load(std::memory_order_relaxed) + 1;
  calls_.push_back({serial, name, std::move(values)});
  newest_.store(serial, std::memory_order_release);
}

std::vector<AttributeBoard::Call> AttributeBoard::after(std::int64_t serial) const {
  const std::lock_guard lock(mutex_);
  std::vector<Call> all;
  std::copy_if(calls_.begin(), calls_.end(), std::back_inserter(all),
               [&](const Call& call) { return call.serial > serial; });
  return all;
}

void AttributeBoard::tell(const Info* model, std::int64_t serial, const std::string& name, Values values) {
  const std::lock_guard lock(mutex_);
  told_[name] = {model, serial, std::move(values)};
}

std::optional<Values> AttributeBoard::get(const Info* model, const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto told = told_.find(name);
  const bool known = told != told_.end() && told->second.model == model;
  for (const Call& call : std::views::reverse(calls_)) {
    if (call.name == name && (!known || call.serial > told->second.serial)) return call.values;
  }
  return known ? std::optional(told->second.values) : std::nullopt;
}

Board::Board() noexcept {
  for (std::size_t i = 0; i < controls.size(); ++i) controls[i] = kControls[i].initial;
  // until it is set, the model's own
  controls[static_cast<std::size_t>(Control::temperature)] = std::numeric_limits<float>::quiet_NaN();
  for (auto& s : switches) s = false;
  labels[0] = 1;
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
