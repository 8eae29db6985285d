// The control half of the plugin, as hosts and the interface call it: the keeper does what may wait.
#include "shell.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <utility>

#include "feed.h"
#include "keeper.h"

namespace ravel::plugin {

namespace {

constexpr double kMemorySeconds = 1;  // of a decoder: its sound after the last input
constexpr const char* kModelKey = "model";
constexpr const char* kProjectKey = "project";
constexpr const char* kKeys[] = {kModelKey, kProjectKey};

}  // namespace

Shell::Shell(Form form, std::span<const std::byte> built_in) : keeper_(std::make_unique<Keeper>(form, built_in)) {}
Shell::~Shell() = default;

void Shell::activate(double sample_rate_hz, int max_block) {
  Keeper& keeper = *keeper_;
  const std::lock_guard lock(keeper.control);
  keeper.active = false;  // what is loaded now waits for `prepare` below
  keeper.sample_rate_hz = sample_rate_hz;
  keeper.max_block = std::clamp(max_block, 1, 1 << 16);
  keeper.load_next();
  if (!keeper.plays && !keeper.missing) keeper.load_built_in();
  keeper.follow();
  keeper.active = true;
  keeper.prepare(false);
  keeper.start_thread();
}

void Shell::deactivate() {
  const std::lock_guard lock(keeper_->control);
  keeper_->active = false;
}

void Shell::set_offline(bool on) {
  keeper_->offline = on;
  keeper_->player().set_offline(on);
}

void Shell::open(const std::string& path) {
  {
    const std::lock_guard lock(keeper_->telling);
    keeper_->next = path;
    keeper_->about.loading = true;
  }
  keeper_->start_thread();
  keeper_->wake.notify_all();
}

std::vector<std::string> Shell::models() const {
  const std::lock_guard lock(keeper_->telling);
  return keeper_->folder;
}

Status Shell::status() {
  Status status;
  {
    const std::lock_guard lock(keeper_->telling);
    status = keeper_->about;
  }
  const Meters& meters = keeper_->player().meters();
  status.latency_samples = latency_samples();
  status.load = meters.load;
  status.worst_load = meters.worst_load;
  return status;
}

std::span<const char* const> Shell::state_keys() { return kKeys; }

std::string Shell::state(const std::string& key) {
  const std::lock_guard lock(keeper_->control);
  if (key == kModelKey) return keeper_->project.model.path;
  return key == kProjectKey ? to_text(keeper_->now()) : "";
}

void Shell::set_state(const std::string& key, const std::string& value) {
  const std::lock_guard lock(keeper_->control);
  try {
    if (key == kModelKey) keeper_->set_model(value);
    if (key == kProjectKey && !value.empty()) keeper_->restore(project_from_text(value));
  } catch (const std::exception& error) {
    keeper_->say(error.what());
  }
}

void Shell::set_embedded(bool on) {
  const std::lock_guard lock(keeper_->control);
  Project& project = keeper_->project;
  if (on == !project.embedded.empty() || (on && (!keeper_->plays || keeper_->plays_built_in))) return;
  try {
    std::vector<std::byte> bytes;
    if (on) bytes = read_bytes(project.model.path);
    const std::lock_guard telling(keeper_->telling);
    project.embedded = std::move(bytes);
  } catch (const std::exception& error) {
    keeper_->say(error.what());
  }
  keeper_->tell();
}

void Shell::save_preset(const std::string& path) {
  const std::lock_guard lock(keeper_->control);
  Preset preset;
  preset.values = keeper_->values();
  preset.has_project = true;
  preset.project = keeper_->now();
  preset.project.embedded.clear();
  write_whole(path, to_text(preset));
}

std::vector<float> Shell::load_preset(const std::string& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  const std::lock_guard lock(keeper_->control);
  Preset preset = preset_from_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, keeper_->values());
  if (preset.has_project) keeper_->restore(std::move(preset.project));
  preset.values[kModel] = parameter(kModel);
  for (int i = 0; i < kParameters; ++i) set_parameter(i, preset.values[static_cast<std::size_t>(i)]);
  return preset.values;
}

std::vector<std::string> Shell::factory_presets() { return plugin::factory_presets(); }

std::vector<float> Shell::load_factory_preset(int which) {
  std::vector<float> values = factory_preset(which);
  const auto keep = [&](int kept) { values[static_cast<std::size_t>(kept)] = parameter(kept); };
  for (const int kept : {+kModel, +kMode, +kBypass}) keep(kept);
  for (int label = 0; label < kLabels; ++label) keep(kFirstLabel + label);  // which instrument plays
  for (int i = 0; i < kParameters; ++i) set_parameter(i, values[static_cast<std::size_t>(i)]);
  return values;
}

void Shell::store_snapshot(int slot) { keeper_->player().store_snapshot(slot); }

void Shell::recall_snapshot(int slot) {
  if (slot != 0 && slot != 1) return;
  keeper_->player().recall_snapshot(slot);
  keeper_->stage.move_parameter(kFreeze, 1);
}

void Shell::learn(int parameter) { keeper_->stage.assignments().learn(parameter < kParameters ? parameter : -1); }
int Shell::learning() const noexcept { return keeper_->stage.assignments().learning(); }
int Shell::controller_of(int parameter) const { return keeper_->stage.assignments().controller_of(parameter); }
void Shell::forget(int parameter) { keeper_->stage.assignments().forget(parameter); }

void Shell::set_parameter(int parameter, float value) noexcept { keeper_->stage.set_parameter(parameter, value); }

float Shell::parameter(int parameter) const noexcept {
  return parameter >= 0 && parameter < kParameters ? keeper_->stage.parameter(parameter) : 0;
}

int Shell::latency_samples() const noexcept { return keeper_->stage.latency_samples(); }

int Shell::tail_samples() const noexcept {
  if (parameter(kFreeze) > 0 || keeper_->stage.plays_by_itself()) return -1;
  const double seconds = kMemorySeconds + parameter(kRelease) / 1000;
  return latency_samples() + static_cast<int>(seconds * keeper_->stage.feed().sample_rate_hz);
}

int Shell::take_moved(int* parameters, int most) noexcept { return keeper_->stage.take_moved(parameters, most); }
float Shell::latent_value(int latent) const noexcept { return keeper_->player().latent_value(latent); }
Feed& Shell::feed() noexcept { return keeper_->stage.feed(); }

void Shell::process(const float* const* in, float* const* out, int frames, std::span<const Midi> midi) noexcept {
  if (keeper_->offline.load(std::memory_order_relaxed)) keeper_->follow_offline();
  keeper_->stage.process(in, out, frames, midi);
}

}  // namespace ravel::plugin
