// What is clicked: buttons, switches and choices.
#pragma once

#include <functional>

#include "../widget.h"

namespace ravel::plugin::ui {

class Button : public Widget {
 public:
  enum class Face { words, previous, next, menu };

  Button(Context context, std::string name, std::string label, std::string help, std::function<void()> clicked)
      : Widget(context, std::move(name)),
        label_(std::move(label)),
        help_(std::move(help)),
        clicked_(std::move(clicked)) {}

  Face face = Face::words;
  std::function<std::string()> words;      // instead of the label
  std::function<bool()> lit;               // drawn in the hand's colour
  std::function<void()> clicked_with_alt;  // shift or alt

  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  std::string hint(Point) const override { return help_; }

 private:
  std::string label() const { return words ? words() : label_; }

  std::string label_, help_;
  std::function<void()> clicked_;
};

// A parameter that is on or off.
class Toggle : public Widget {
 public:
  Toggle(Context context, int parameter);
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  int parameter_at(Point) const override { return parameter_; }
  std::string hint(Point) const override;

 private:
  bool on() const { return value(parameter_) > 0.5F; }
  int parameter_;
};

// A parameter that is one of a few words: a menu.
class Choice : public Widget {
 public:
  Choice(Context context, int parameter);
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  void wheel(const Pointer& pointer, float lines) override;
  int parameter_at(Point) const override { return parameter_; }
  std::string hint(Point) const override;

 private:
  Rect face() const { return {bounds.x, bounds.bottom() - theme::kControl, bounds.w, theme::kControl}; }
  int parameter_;
};

void draw_chevron(Canvas& canvas, Point centre, Button::Face face, Colour colour);

}  // namespace ravel::plugin::ui
