// The latents: a pad for the first two, and a bar for each.
#pragma once

#include <vector>

#include "../widget.h"

namespace ravel::plugin::ui {

inline constexpr float kLatentRange = 4;  // shown on both sides of 0: a trained latent is near N(0, 1)

// The first two latents as a plane. Dragging holds both where the pointer is, a double click lets them go.
class Pad : public Widget {
 public:
  explicit Pad(Context context) : Widget(context, "pad") {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  void drag(const Pointer& pointer) override;
  void release(const Pointer& pointer) override;
  void double_click(const Pointer& pointer) override;
  int parameter_at(Point p) const override;
  std::string hint(Point) const override;

 private:
  bool held() const;
  void draw_cross(Canvas& canvas, Point at, Colour colour) const;
  Point place(float first, float second) const;
  std::vector<Point> trail() const;
  void hold(Point at);
};

// One latent: the live value, its bias (drag), its scale (drag below, or with shift or alt), and whether it is held.
class LatentBar : public Widget {
 public:
  LatentBar(Context context, int latent);
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  void drag(const Pointer& pointer) override;
  void release(const Pointer& pointer) override;
  void double_click(const Pointer& pointer) override;
  void wheel(const Pointer& pointer, float lines) override;
  int parameter_at(Point p) const override;
  std::string hint(Point) const override;

 private:
  struct Parts {
    Rect number, track, bias, scale, hold;
  };
  Parts parts() const;
  int of(LatentId which) const { return id(latent_, which); }
  bool held() const { return value(of(kOverrideOn)) > 0.5F; }
  int moved_by(const Pointer& pointer) const;
  float height_of(float latent_value) const;

  int latent_;
  int moving_ = -1;
  float position_ = 0;
};

}  // namespace ravel::plugin::ui
