// See keeper.h.
#include "keeper.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "built_in.h"

namespace ravel::plugin {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{20};  // between two looks of its thread

Mode mode_of(float value) noexcept {
  constexpr Mode modes[] = {Mode::automatic, Mode::inline_, Mode::sliced};
  return modes[static_cast<std::size_t>(value)];
}

}  // namespace

Keeper::~Keeper() {
  {
    const std::lock_guard lock(telling);
    stopping = true;
  }
  wake.notify_all();
  if (thread.joinable()) thread.join();
}

void Keeper::say(std::string message) {
  const std::lock_guard lock(telling);
  about.message = std::move(message);
}

void Keeper::tell() {
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

void Keeper::prepare(bool fade) {
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

void Keeper::settle() {
  if (!active) return tell();
  if (!stage.rest().played() || (offline && !in_process)) return prepare(false);
  stage.rest().ask();
  if (offline) return;  // the next blocks fade out, then `follow_offline` prepares
  const auto patience = milliseconds(100 + static_cast<int>(4000.0 * max_block / sample_rate_hz));
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!stage.rest().quiet() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(milliseconds(1));
  prepare(true);
}

bool Keeper::fits(const Model& model) {
  if (!prepared || !plays || player().wants_prepare()) return false;
  const Info &now = prepared->info(), &next = model.info();
  const Method method = player().method();
  return now.preset == next.preset && now.hop_samples == next.hop_samples &&
         now.sample_rate_hz == next.sample_rate_hz && now.channels == next.channels &&
         now.method(method).in_channels == next.method(method).in_channels &&
         now.method(method).delay_samples == next.method(method).delay_samples && has_prior(now) == has_prior(next);
}

void Keeper::adopt(ModelFile file, std::vector<std::byte> embedded, bool built_in_plays) {
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

bool Keeper::load(const std::string& path) {
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

void Keeper::identify_model() {
  if (!plays || !project.model.hash.empty() || project.model.path == unknown) return;
  try {
    ModelFile file = identify(project.model.path);
    const std::lock_guard lock(telling);
    project.model = std::move(file);
  } catch (const std::exception&) {
    unknown = project.model.path;  // gone since it was read
  }
}

bool Keeper::load(std::shared_ptr<const Model> model, ModelFile file, std::vector<std::byte> embedded,
                  bool built_in_plays) {
  player().take_message();
  if (!player().load(std::move(model), true)) {
    say(player().take_message());
    return false;
  }
  player().take_message();
  adopt(std::move(file), std::move(embedded), built_in_plays);
  return true;
}

void Keeper::load_built_in() {
  if (built_in.empty() || plays_built_in) return;
  try {
    load(built_in_model(built_in), {}, {}, true);
  } catch (const std::exception& error) {
    say(std::string("built-in model: ") + error.what());
  }
}

void Keeper::go_without(ModelFile file, int latency_samples) {
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

void Keeper::follow() {
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

void Keeper::follow_offline() noexcept try {
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

std::optional<std::string> Keeper::take_next() {
  const std::lock_guard lock(telling);
  return std::exchange(next, std::nullopt);
}

void Keeper::load_next() {
  if (const auto path = take_next()) load(*path);
  const std::lock_guard lock(telling);
  about.loading = next.has_value();
}

void Keeper::start_thread() {
  const std::lock_guard lock(telling);
  if (!thread.joinable()) thread = std::thread([this] { keep(); });
}

void Keeper::keep() {
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

void Keeper::set_model(const std::string& path) {
  if (path.empty() || (path == project.model.path && (plays || missing))) return;
  if (is_file(path)) {
    load(path);
  } else if (project.model.none() || file_name(path) != project.model.name) {
    go_without({path, file_name(path), "", 0}, stage.latency_samples());
  }
}

void Keeper::restore_snapshot(int slot, const std::vector<std::vector<float>>& streams) {
  constexpr std::size_t kMostStreams = 4, kMostLatents = 256;
  for (std::size_t s = 0; s < kMostStreams; ++s) {
    for (std::size_t i = 0; i < kMostLatents; ++i) {
      const bool given = s < streams.size() && i < streams[s].size();
      player().set_snapshot(slot, static_cast<int>(s), static_cast<int>(i), given ? streams[s][i] : 0);
    }
  }
}

void Keeper::restore(Project wanted) {
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

void Keeper::restore_model(Project& wanted, std::shared_ptr<const Model> embedded) {
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

std::vector<float> Keeper::values() const {
  std::vector<float> all(kParameters);
  for (int i = 0; i < kParameters; ++i) all[static_cast<std::size_t>(i)] = stage.parameter(i);
  return all;
}

std::vector<std::vector<float>> Keeper::snapshot(int slot) {
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

Project Keeper::now() {
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

}  // namespace ravel::plugin
