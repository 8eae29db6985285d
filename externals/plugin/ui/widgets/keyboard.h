// Keys to play the instrument with: lower on a key is louder.
#pragma once

#include "../widget.h"

namespace ravel::plugin::ui {

class Keyboard : public Widget {
 public:
  explicit Keyboard(Context context) : Widget(context, "keyboard") {}
  void look(Look& look) const override { look << sounding_ << hovered; }
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  void drag(const Pointer& pointer) override;
  void release(const Pointer& pointer) override;
  std::string hint(Point p) const override;

 private:
  static constexpr int kLowest = 36, kHighest = 96;  // C2 to C7
  Rect key(int note) const;
  int note_at(Point p) const;
  void play(int note, Point p);

  int sounding_ = -1;
};

}  // namespace ravel::plugin::ui
