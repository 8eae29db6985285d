// The control half of the plugin: one change at a time, on whichever thread asked for it or on the keeper's.
#include "shell.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "built_in.h"
#include "feed.h"
#include "stage.h"
#include "state.h"

namespace ravel::plugin {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{20};     // between two looks of the keeper
constexpr double kMemorySeconds = 1;  // of a decoder: its sound after the last input
constexpr const char* kModelKey = "model";
constexpr const char* kProjectKey = "project";
constexpr const char* kKeys[] = {kModelKey, kProjectKey};

Mode mode_of(float value) noexcept {
  constexpr Mode modes[] = {Mode::automatic, Mode::inline_, Mode::sliced};
  return modes[static_cast<std::size_t>(value)];
}

}  // namespace

struct Shell::Impl {
  Impl(Form form, std::span<const std::byte> built_in) : stage(form), form(form), built_in(built_in) {}

  ~Impl() {
    {
      const std::lock_guard lock(telling);
      stopping = true;
    }
    wake.notify_all();
    if (keeper.joinable()) keeper.join();
  }

  Player& player() noexcept { return stage.player(); }

  // ---- what is told

  void say(std::string message) {
    const std::lock_guard lock(telling);
    about.message = std::move(message);
  }

  // After a model came or went, or the host changed.
  void tell() {
    const auto model = plays ? player().model() : nullptr;
    Status now;
    if (model) {
      now = status_of(model->info());
      now.mode = player().active_mode();
    }
    const std::lock_guard lock(telling);
    now.path = project.model.path;
    now.embedded = !project.embedded.empty();
    now.missing = missing;
    now.loading = about.loading;
    now.message = about.message;
    if (missing) now.name = project.model.name;
    about = std::move(now);
  }

  // ---- under `control`

  void prepare(bool fade) {
    Stage::Setup setup;
    setup.sample_rate_hz = sample_rate_hz;
    setup.max_block = max_block;
    setup.offline = offline;
    setup.mode = mode = mode_of(stage.parameter(kMode));
    setup.stereo = stereo = static_cast<Stereo>(static_cast<int>(stage.parameter(kStereo)));
    setup.plays = plays;
    setup.latency_samples = missing ? project.latency_samples : 0;
    try {
      stage.prepare(setup, fade);
    } catch (const std::exception& error) {
      say(error.what());
    }
    prepared = player().model();
    tell();
  }

  // Where sound was playing it fades out before and in afterwards; a host that has stopped calling is not waited for.
  void settle() {
    if (!active) return tell();
    if (!stage.rest().played() || (offline && !in_process)) return prepare(false);
    stage.rest().ask();
    if (offline) return;  // the next blocks fade out, then `follow_offline` prepares
    const auto patience = milliseconds(100 + static_cast<int>(4000.0 * max_block / sample_rate_hz));
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!stage.rest().quiet() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(milliseconds(1));
    prepare(true);
  }

  // The player cross-fades between models that are equally late; for others the host has to be told.
  bool fits(const Model& model) {
    if (!prepared || !plays || player().wants_prepare()) return false;
    const Info &now = prepared->info(), &next = model.info();
    const Method method = player().method();
    return now.preset == next.preset && now.hop_samples == next.hop_samples &&
           now.sample_rate_hz == next.sample_rate_hz && now.channels == next.channels &&
           now.method(method).in_channels == next.method(method).in_channels &&
           now.method(method).delay_samples == next.method(method).delay_samples;
  }

  // The newest load is what plays from now on.
  void adopt(ModelFile file, std::vector<std::byte> embedded, bool built_in_plays) {
    const auto model = player().model();
    const bool same_timing = fits(*model);
    plays = true;
    missing = false;
    plays_built_in = built_in_plays;
    {
      const std::lock_guard lock(telling);
      project.model = std::move(file);
      project.embedded = std::move(embedded);
      about.message.clear();
      if (!project.model.path.empty()) {
        folder = models_in(folder_of(project.model.path));
        folder.resize(std::min(folder.size(), static_cast<std::size_t>(kBrowsed)));
      }
      const auto at = std::find(folder.begin(), folder.end(), project.model.path);
      if (at != folder.end()) choice = static_cast<int>(at - folder.begin());
    }
    if (static_cast<int>(stage.parameter(kModel)) != choice) stage.move_parameter(kModel, static_cast<float>(choice));
    if (same_timing) {
      prepared = model;
      tell();
    } else {
      settle();
    }
  }

  bool load(const std::string& path) {
    player().take_message();
    const bool loaded = player().load(path, true);
    const std::string said = player().take_message();
    if (!loaded) {
      say(said);
      return false;
    }
    adopt({path, file_name(path), "", 0}, {}, false);
    return true;
  }

  // The content of the file that plays, which is not waited for before it sounds.
  void identify_model() {
    if (!plays || !project.model.hash.empty() || project.model.path == unknown) return;
    try {
      ModelFile file = identify(project.model.path);
      const std::lock_guard lock(telling);
      project.model = std::move(file);
    } catch (const std::exception&) {
      unknown = project.model.path;  // gone since it was read
    }
  }

  bool load(std::shared_ptr<const Model> model, ModelFile file, std::vector<std::byte> embedded, bool built_in_plays) {
    player().take_message();
    if (!player().load(std::move(model), true)) {
      say(player().take_message());
      return false;
    }
    player().take_message();
    adopt(std::move(file), std::move(embedded), built_in_plays);
    return true;
  }

  void load_built_in() {
    if (built_in.empty() || plays_built_in) return;
    try {
      load(built_in_model(built_in), {}, {}, true);
    } catch (const std::exception& error) {
      say(std::string("built-in model: ") + error.what());
    }
  }

  // Nothing plays, the dry signal passes as late as the project was.
  void go_without(ModelFile file, int latency_samples) {
    const bool named = !file.none();
    missing = named;
    plays = plays_built_in = false;
    {
      const std::lock_guard lock(telling);
      if (named)
        about.message = file.name + " was not found, neither at " + file.path +
                        " nor in the folders of models: open it where it is now; meanwhile the sound passes dry";
      project.model = std::move(file);
      project.embedded.clear();
      project.latency_samples = latency_samples;
    }
    settle();
  }

  // What parameters ask of this half.
  void follow() {
    const int wanted = static_cast<int>(stage.parameter(kModel));
    if (wanted != choice) {
      choice = wanted;
      std::string path;
      {
        const std::lock_guard lock(telling);
        if (static_cast<std::size_t>(wanted) < folder.size()) path = folder[static_cast<std::size_t>(wanted)];
      }
      if (!path.empty() && path != project.model.path) load(path);
    }
    const bool stale = mode != mode_of(stage.parameter(kMode)) ||
                       stereo != static_cast<Stereo>(static_cast<int>(stage.parameter(kStereo)));
    if (active && stale) settle();
    player().take_message();  // frees what was swapped out
  }

  // Before every block of a render.
  void follow_offline() noexcept try {
    const std::lock_guard lock(control);
    in_process = true;
    if (stage.rest().asked() && stage.rest().quiet()) prepare(true);
    if (!stage.rest().asked()) {
      load_next();
      follow();
    }
    in_process = false;
  } catch (const std::exception& error) {
    in_process = false;
    say(error.what());
  }

  std::optional<std::string> take_next() {
    const std::lock_guard lock(telling);
    return std::exchange(next, std::nullopt);
  }

  void load_next() {
    if (const auto path = take_next()) load(*path);
    const std::lock_guard lock(telling);
    about.loading = next.has_value();
  }

  void start_keeper() {
    const std::lock_guard lock(telling);
    if (!keeper.joinable()) keeper = std::thread([this] { keep(); });
  }

  void keep() {
    for (;;) {
      {
        std::unique_lock lock(telling);
        wake.wait_for(lock, kLook, [this] { return stopping || next; });
        if (stopping) return;
      }
      const std::lock_guard lock(control);
      if (offline && active) continue;  // `follow_offline` does it
      load_next();
      follow();
      identify_model();
    }
  }

  // ---- state

  void set_model(const std::string& path) {
    if (path.empty() || (path == project.model.path && (plays || missing))) return;
    if (is_file(path)) {
      load(path);
    } else if (project.model.none() || file_name(path) != project.model.name) {
      go_without({path, file_name(path), "", 0}, stage.latency_samples());
    }
  }

  void restore_snapshot(int slot, const std::vector<std::vector<float>>& streams) {
    constexpr std::size_t kMostStreams = 4, kMostLatents = 256;
    for (std::size_t s = 0; s < kMostStreams; ++s) {
      for (std::size_t i = 0; i < kMostLatents; ++i) {
        const bool given = s < streams.size() && i < streams[s].size();
        player().set_snapshot(slot, static_cast<int>(s), static_cast<int>(i), given ? streams[s][i] : 0);
      }
    }
  }

  // Throws Error before anything has changed.
  void restore(Project wanted) {
    std::shared_ptr<const Model> embedded;
    if (!wanted.embedded.empty()) embedded = Model::parse(wanted.embedded.data(), wanted.embedded.size());
    for (int slot = 0; slot < 2; ++slot) restore_snapshot(slot, wanted.snapshots[static_cast<std::size_t>(slot)]);
    stage.assignments().clear();
    for (const auto& [controller, parameter] : wanted.controllers) stage.assignments().assign(controller, parameter);
    restore_model(wanted, std::move(embedded));
    choice = wanted.choice;
    stage.set_parameter(kModel, static_cast<float>(choice));
    stage.set_temperature_moved(wanted.temperature_moved);
  }

  // `embedded`: what the project has inside, or null.
  void restore_model(Project& wanted, std::shared_ptr<const Model> embedded) {
    if (wanted.model.none() && !embedded) {
      if (!built_in.empty()) return load_built_in();
      if (plays || missing) go_without({}, 0);
      return;
    }
    identify_model();
    const bool same = plays && !wanted.model.hash.empty() && wanted.model.hash == project.model.hash;
    if (embedded) {
      load(same ? player().model() : std::move(embedded), std::move(wanted.model), std::move(wanted.embedded), false);
      return;
    }
    const std::string path =
        same ? project.model.path : find(wanted.model, {folder_of(wanted.model.path), folder_of(project.model.path)});
    if (path.empty()) return go_without(std::move(wanted.model), wanted.latency_samples);
    if (!same && !load(path)) return;
    identify_model();
    if (!wanted.model.hash.empty() && wanted.model.hash != project.model.hash)
      say(path + " is another file than the project was made with, of the same name");
  }

  std::vector<float> values() const {
    std::vector<float> all(kParameters);
    for (int i = 0; i < kParameters; ++i) all[static_cast<std::size_t>(i)] = stage.parameter(i);
    return all;
  }

  // Streams of latents; none where nothing was stored.
  std::vector<std::vector<float>> snapshot(int slot) {
    constexpr int kStreams = 2;
    std::vector<std::vector<float>> streams(kStreams);
    bool stored = false;
    for (int s = 0; s < kStreams; ++s) {
      for (int i = 0; i < player().latents(); ++i) {
        const float value = player().snapshot(slot, s, i);
        streams[static_cast<std::size_t>(s)].push_back(value);
        stored |= value != 0;
      }
    }
    return stored ? streams : std::vector<std::vector<float>>();
  }

  Project now() {
    identify_model();
    Project project = this->project;
    project.latency_samples = stage.latency_samples();
    project.choice = choice;
    project.temperature_moved = stage.temperature_moved();
    project.snapshots = {snapshot(0), snapshot(1)};
    for (int i = 0; i < kParameters; ++i) {
      if (const int controller = stage.assignments().controller_of(i); controller >= 0)
        project.controllers.push_back({controller, i});
    }
    return project;
  }

  Stage stage;
  const Form form;
  const std::span<const std::byte> built_in;

  std::mutex control;  // held while something is read, prepared or faded
  double sample_rate_hz = 48000;
  int max_block = 512;
  bool active = false;
  std::atomic<bool> offline{false};
  bool in_process = false;  // the one who holds `control` is the audio thread
  bool plays = false, missing = false, plays_built_in = false;
  Mode mode = Mode::automatic;
  Stereo stereo = Stereo::left_right;
  int choice = 0;                         // kModel as last obeyed
  std::shared_ptr<const Model> prepared;  // for the model the stage was prepared
  std::string unknown;                    // path of the model that could not be identified
  Project project;                        // its model: written under `telling` too

  std::mutex telling;  // held shortly
  Status about;
  std::vector<std::string> folder;
  std::optional<std::string> next;  // to be opened
  bool stopping = false;
  std::condition_variable wake;
  std::thread keeper;
};

Shell::Shell(Form form, std::span<const std::byte> built_in) : impl_(std::make_unique<Impl>(form, built_in)) {}
Shell::~Shell() = default;

void Shell::activate(double sample_rate_hz, int max_block) {
  Impl& shell = *impl_;
  const std::lock_guard lock(shell.control);
  shell.active = false;  // what is loaded now waits for `prepare` below
  shell.sample_rate_hz = sample_rate_hz;
  shell.max_block = std::clamp(max_block, 1, 1 << 16);
  shell.load_next();
  if (!shell.plays && !shell.missing) shell.load_built_in();
  shell.follow();
  shell.active = true;
  shell.prepare(false);
  shell.start_keeper();
}

void Shell::deactivate() {
  const std::lock_guard lock(impl_->control);
  impl_->active = false;
}

void Shell::set_offline(bool on) {
  impl_->offline = on;
  impl_->player().set_offline(on);
}

void Shell::open(const std::string& path) {
  {
    const std::lock_guard lock(impl_->telling);
    impl_->next = path;
    impl_->about.loading = true;
  }
  impl_->start_keeper();
  impl_->wake.notify_all();
}

std::vector<std::string> Shell::models() const {
  const std::lock_guard lock(impl_->telling);
  return impl_->folder;
}

Status Shell::status() {
  Status status;
  {
    const std::lock_guard lock(impl_->telling);
    status = impl_->about;
  }
  const Meters& meters = impl_->player().meters();
  status.latency_samples = latency_samples();
  status.load = meters.load;
  status.worst_load = meters.worst_load;
  return status;
}

std::span<const char* const> Shell::state_keys() { return kKeys; }

std::string Shell::state(const std::string& key) {
  const std::lock_guard lock(impl_->control);
  if (key == kModelKey) return impl_->project.model.path;
  return key == kProjectKey ? to_text(impl_->now()) : "";
}

void Shell::set_state(const std::string& key, const std::string& value) {
  const std::lock_guard lock(impl_->control);
  try {
    if (key == kModelKey) impl_->set_model(value);
    if (key == kProjectKey && !value.empty()) impl_->restore(project_from_text(value));
  } catch (const std::exception& error) {
    impl_->say(error.what());
  }
}

void Shell::set_embedded(bool on) {
  const std::lock_guard lock(impl_->control);
  Project& project = impl_->project;
  if (on == !project.embedded.empty() || (on && (!impl_->plays || impl_->plays_built_in))) return;
  try {
    std::vector<std::byte> bytes;
    if (on) bytes = read_bytes(project.model.path);
    const std::lock_guard telling(impl_->telling);
    project.embedded = std::move(bytes);
  } catch (const std::exception& error) {
    impl_->say(error.what());
  }
  impl_->tell();
}

void Shell::save_preset(const std::string& path) {
  const std::lock_guard lock(impl_->control);
  Preset preset;
  preset.values = impl_->values();
  preset.has_project = true;
  preset.project = impl_->now();
  preset.project.embedded.clear();
  write_whole(path, to_text(preset));
}

std::vector<float> Shell::load_preset(const std::string& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  const std::lock_guard lock(impl_->control);
  Preset preset = preset_from_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, impl_->values());
  if (preset.has_project) impl_->restore(std::move(preset.project));
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

void Shell::store_snapshot(int slot) { impl_->player().store_snapshot(slot); }

void Shell::recall_snapshot(int slot) {
  if (slot != 0 && slot != 1) return;
  impl_->player().recall_snapshot(slot);
  impl_->stage.move_parameter(kFreeze, 1);
}

void Shell::learn(int parameter) { impl_->stage.assignments().learn(parameter < kParameters ? parameter : -1); }
int Shell::learning() const noexcept { return impl_->stage.assignments().learning(); }
int Shell::controller_of(int parameter) const { return impl_->stage.assignments().controller_of(parameter); }
void Shell::forget(int parameter) { impl_->stage.assignments().forget(parameter); }

void Shell::set_parameter(int parameter, float value) noexcept { impl_->stage.set_parameter(parameter, value); }

float Shell::parameter(int parameter) const noexcept {
  return parameter >= 0 && parameter < kParameters ? impl_->stage.parameter(parameter) : 0;
}

int Shell::latency_samples() const noexcept { return impl_->stage.latency_samples(); }

int Shell::tail_samples() const noexcept {
  if (parameter(kFreeze) > 0) return -1;
  const double seconds = kMemorySeconds + parameter(kRelease) / 1000;
  return latency_samples() + static_cast<int>(seconds * impl_->stage.feed().sample_rate_hz);
}

int Shell::take_moved(int* parameters, int most) noexcept { return impl_->stage.take_moved(parameters, most); }
float Shell::latent_value(int latent) const noexcept { return impl_->player().latent_value(latent); }
Feed& Shell::feed() noexcept { return impl_->stage.feed(); }

void Shell::process(const float* const* in, float* const* out, int frames, std::span<const Midi> midi) noexcept {
  if (impl_->offline.load(std::memory_order_relaxed)) impl_->follow_offline();
  impl_->stage.process(in, out, frames, midi);
}

}  // namespace ravel::plugin
