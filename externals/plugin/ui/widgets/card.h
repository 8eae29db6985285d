// What plays: the model's name, what it is, how late it is, what it was trained on, and its fidelity curve.
#pragma once

#include "../widget.h"

namespace ravel::plugin::ui {

class Card : public Widget {
 public:
  explicit Card(Context context) : Widget(context, "card") {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  std::string hint(Point) const override;

 private:
  void draw_curve(Canvas& canvas, const Rect& rect) const;
};

// A caption and a value that changes seldom, in the header.
class Readout : public Widget {
 public:
  Readout(Context context, std::string name, std::string caption, std::string help, std::function<std::string()> words,
          std::function<bool()> alarming = nullptr)
      : Widget(context, std::move(name)),
        caption_(std::move(caption)),
        help_(std::move(help)),
        words_(std::move(words)),
        alarming_(std::move(alarming)) {}
  void look(Look& look) const override { look << words_() << (alarming_ && alarming_()); }
  void draw(Canvas& canvas) override;
  std::string hint(Point) const override { return help_; }

 private:
  std::string caption_, help_;
  std::function<std::string()> words_;
  std::function<bool()> alarming_;
};

std::string milliseconds(int samples, double rate_hz);

}  // namespace ravel::plugin::ui
