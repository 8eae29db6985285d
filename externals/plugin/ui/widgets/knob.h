// A number that is turned: drag up and down (shift: fine), wheel, double click to type, control click to reset.
#pragma once

#include <functional>

#include "../widget.h"

namespace ravel::plugin::ui {

// What every control of one continuous parameter shares: how the pointer moves it.
class Dial : public Widget {
 public:
  Dial(Context context, int parameter, float pixels);

  void press(const Pointer& pointer) override;
  void drag(const Pointer& pointer) override;
  void release(const Pointer& pointer) override;
  void double_click(const Pointer& pointer) override;
  void wheel(const Pointer& pointer, float lines) override;
  int parameter_at(Point) const override { return parameter_; }
  std::string hint(Point) const override;

 protected:
  virtual float along(Point moved) const { return -moved.y; }
  virtual Rect typing_place() const { return bounds; }
  bool learning() const { return scene().learning == parameter_; }
  float position() const;

  int parameter_;

 private:
  float pixels_;  // from one end to the other
  float position_ = 0;
};

class Knob : public Dial {
 public:
  Knob(Context context, int parameter) : Dial(context, parameter, 200) {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;

 private:
  Rect typing_place() const override;
};

// The same, lying: a handle on a line.
class Slider : public Dial {
 public:
  Slider(Context context, int parameter) : Dial(context, parameter, 200) {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;

 private:
  float along(Point moved) const override { return moved.x * 200 / std::max(1.0F, track().w); }

 protected:
  virtual Rect track() const { return bounds.inset(theme::kGrid, 0); }
};

// The same as a bar that is filled so far, with its name on it: what the model calls it.
class Bar : public Slider {
 public:
  Bar(Context context, int parameter, std::function<std::string()> words)
      : Slider(context, parameter), words_(std::move(words)) {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  std::string hint(Point at) const override;

 private:
  Rect track() const override { return bounds; }

  std::function<std::string()> words_;
};

}  // namespace ravel::plugin::ui
