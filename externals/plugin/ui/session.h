// The scene of one shell, kept up to date, and the hand's actions on it; a plugin format gives the ways to its host.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "scene.h"

namespace ravel::plugin::ui {

// How the interface speaks to its host, so that automation, undo and the project hear of everything.
class Host {
 public:
  virtual ~Host() = default;
  virtual void edit_parameter(int parameter, bool started) = 0;
  virtual void set_parameter(int parameter, float value) = 0;
  virtual void send_note(int key, int velocity) = 0;
  virtual void request_model_file() = 0;
  enum class File { load_preset, save_preset };
  virtual void request_file(File what) = 0;
};

class Session : public Actions {
 public:
  Session(Shell& shell, Host& host, Form form, std::string title);

  const Scene& scene() const { return scene_; }
  void refresh(double now_s, double host_rate_hz);  // from the shell
  void hear(int parameter, float value);            // from the host
  void use_file(Host::File what, const std::string& path);

  void begin(int parameter) override { host_.edit_parameter(parameter, true); }
  void change(int parameter, float value) override;
  void end(int parameter) override { host_.edit_parameter(parameter, false); }
  void browse_models() override { host_.request_model_file(); }
  void browse_presets() override { host_.request_file(Host::File::load_preset); }
  void save_preset() override { host_.request_file(Host::File::save_preset); }
  void load_factory_preset(int which) override;
  void compare(int slot) override;
  void embed(bool on) override;
  void store_snapshot(int slot) override;
  void recall_snapshot(int slot) override;
  void learn(int parameter) override;
  void forget(int parameter) override;
  int controller_of(int parameter) const override { return shell_.controller_of(parameter); }
  void note(int key, int velocity) override { host_.send_note(key, velocity); }

 private:
  using Values = std::array<float, kParameters>;
  void refresh_status(double now_s);
  void list_models();
  void tell_moved();
  void tell_all(const std::vector<float>& values);
  template <class Attempt>
  void attempt(Attempt&& attempt);

  Shell& shell_;
  Host& host_;
  Scene scene_;
  Values polled_{};                   // of the shell
  std::array<Values, 2> compared_{};  // A and B
  std::string notice_;                // an error of the interface's own, until notice_until_s_
  double now_s_ = 0, status_due_s_ = 0, load_due_s_ = 0, notice_until_s_ = 0;
};

}  // namespace ravel::plugin::ui
