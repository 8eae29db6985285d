// What the interface shows, and what a hand can do to it: plain values, so that a view needs no plugin to be drawn.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "../parameters.h"
#include "../shell.h"
#include "canvas.h"

namespace ravel::plugin::ui {

struct Scene {
  std::string title;  // of the plugin
  Form form = Form::effect;
  Status status;
  double host_rate_hz = 48000;
  std::array<float, kParameters> values{};
  std::array<float, kLatents> latents{};  // as last played
  const Feed* feed = nullptr;             // null: nothing plays
  int learning = -1;                      // parameter that waits for a controller
  int compared = 0;                       // 0 A, 1 B
  std::vector<std::string> models, presets;
  int model = -1;  // of `models`
  float load = 0;  // share of the deadline, at the pace of a readout
};

class Actions {
 public:
  virtual ~Actions() = default;

  virtual void begin(int parameter) = 0;
  virtual void change(int parameter, float value) = 0;
  virtual void end(int parameter) = 0;
  void set(int parameter, float value) {
    begin(parameter);
    change(parameter, value);
    end(parameter);
  }

  virtual void browse_models() = 0;
  virtual void browse_presets() = 0;
  virtual void save_preset() = 0;
  virtual void load_factory_preset(int which) = 0;
  virtual void compare(int slot) = 0;
  virtual void embed(bool on) = 0;
  virtual void store_snapshot(int slot) = 0;
  virtual void recall_snapshot(int slot) = 0;
  virtual void learn(int parameter) = 0;  // -1: no more
  virtual void forget(int parameter) = 0;
  virtual int controller_of(int parameter) const = 0;
  virtual void note(int key, int velocity) = 0;  // velocity 0: off
};

struct MenuItem {
  std::string label;
  std::function<void()> chosen;  // empty: a heading
  bool checked = false;
};

// What a widget may lay over everything until the next click.
class Overlays {
 public:
  virtual ~Overlays() = default;
  virtual void open_menu(const Rect& anchor, std::vector<MenuItem> items) = 0;
  virtual void type_value(const Rect& anchor, int parameter) = 0;
};

struct Context {
  const Scene& scene;
  Actions& actions;
  Overlays& overlays;
};

}  // namespace ravel::plugin::ui
