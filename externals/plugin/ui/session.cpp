// See session.h.
#include "session.h"

#include <algorithm>
#include <exception>
#include <filesystem>

#include "../feed.h"
#include "trace.h"

namespace ravel::plugin::ui {

namespace {

constexpr double kStatus_s = 0.1, kLoad_s = 0.5, kNotice_s = 10;

}  // namespace

Session::Session(Shell& shell, Host& host, Form form, std::string title) : shell_(shell), host_(host) {
  scene_.title = std::move(title);
  scene_.form = form;
  scene_.presets = Shell::factory_presets();
  scene_.feed = &shell.feed();
  for (int i = 0; i < kParameters; ++i) polled_[static_cast<std::size_t>(i)] = shell.parameter(i);
  scene_.values = polled_;
  compared_ = {polled_, polled_};
}

// A value that the hand just moved may not have reached the shell: only what changes there is news.
void Session::refresh(double now_s, double host_rate_hz) {
  now_s_ = now_s;
  scene_.host_rate_hz = host_rate_hz;
  for (int i = 0; i < kParameters; ++i) {
    const float value = shell_.parameter(i);
    if (std::exchange(polled_[static_cast<std::size_t>(i)], value) != value)
      scene_.values[static_cast<std::size_t>(i)] = value;
  }
  tell_moved();
  for (int i = 0; i < kLatents; ++i) scene_.latents[static_cast<std::size_t>(i)] = shell_.latent_value(i);
  scene_.learning = shell_.learning();
  if (now_s >= status_due_s_) refresh_status(now_s);
}

void Session::refresh_status(double now_s) {
  status_due_s_ = now_s + kStatus_s;
  const std::string path = scene_.status.path;
  scene_.status = shell_.status();
  if (now_s < notice_until_s_) scene_.status.message = notice_;
  if (now_s >= load_due_s_) {
    load_due_s_ = now_s + kLoad_s;
    scene_.load = scene_.status.load;
  }
  if (scene_.status.path != path) list_models();
}

void Session::list_models() {
  const std::vector<std::string> paths = shell_.models();
  scene_.models.clear();
  for (const std::string& path : paths) scene_.models.push_back(std::filesystem::path(path).stem().string());
  const auto found = std::ranges::find(paths, scene_.status.path);
  scene_.model = found == paths.end() ? -1 : static_cast<int>(found - paths.begin());
  trace::event("models", static_cast<int>(paths.size()));
}

// What a controller or the shell itself moved, for the host to write down.
void Session::tell_moved() {
  int moved[kParameters];
  const int count = shell_.take_moved(moved, kParameters);
  for (int i = 0; i < count; ++i) set(moved[i], shell_.parameter(moved[i]));
}

void Session::hear(int parameter, float value) {
  if (parameter >= 0 && parameter < kParameters) scene_.values[static_cast<std::size_t>(parameter)] = value;
}

void Session::change(int parameter, float value) {
  scene_.values[static_cast<std::size_t>(parameter)] = value;
  host_.set_parameter(parameter, value);
  trace::value(parameter, value);
}

void Session::tell_all(const std::vector<float>& values) {
  for (int i = 0; i < std::min<int>(kParameters, static_cast<int>(values.size())); ++i)
    if (values[static_cast<std::size_t>(i)] != scene_.values[static_cast<std::size_t>(i)])
      set(i, values[static_cast<std::size_t>(i)]);
}

template <class Attempt>
void Session::attempt(Attempt&& attempt) {
  try {
    attempt();
    notice_until_s_ = 0;
  } catch (const std::exception& error) {
    notice_ = error.what();
    notice_until_s_ = now_s_ + kNotice_s;
  }
  status_due_s_ = 0;
}

void Session::use_file(Host::File what, const std::string& path) {
  attempt([&] {
    if (what == Host::File::load_preset)
      tell_all(shell_.load_preset(path));
    else
      shell_.save_preset(path);
  });
}

void Session::load_factory_preset(int which) {
  attempt([&] { tell_all(shell_.load_factory_preset(which)); });
}

void Session::compare(int slot) {
  if (slot == scene_.compared) return;
  compared_[static_cast<std::size_t>(scene_.compared)] = scene_.values;
  scene_.compared = slot;
  const Values& other = compared_[static_cast<std::size_t>(slot)];
  tell_all({other.begin(), other.end()});
}

void Session::embed(bool on) {
  attempt([&] { shell_.set_embedded(on); });
}

void Session::store_snapshot(int slot) { shell_.store_snapshot(slot); }
void Session::recall_snapshot(int slot) { shell_.recall_snapshot(slot); }

void Session::learn(int parameter) {
  shell_.learn(parameter);
  scene_.learning = parameter;
}

void Session::forget(int parameter) { shell_.forget(parameter); }

}  // namespace ravel::plugin::ui
