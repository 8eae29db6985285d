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

// What the two halves of a latent's column share: dragging moves its bias, or the value that it is held at, or its scale.
class LatentPart : public Widget {
 public:
  LatentPart(Context context, int latent, const char* suffix);
  void press(const Pointer& pointer) override;
  void drag(const Pointer& pointer) override;
  void release(const Pointer& pointer) override;
  void double_click(const Pointer& pointer) override;
  void wheel(const Pointer& pointer, float lines) override;
  int parameter_at(Point p) const override { return moved_by(Pointer{p}); }

 protected:
  virtual int moved_by(const Pointer& pointer) const;
  int of(LatentId which) const { return id(latent_, which); }
  bool held() const { return value(of(kOverrideOn)) > 0.5F; }
  float marked() const { return value(of(held() ? kOverride : kBias)); }
  bool learning(LatentId which) const { return scene().learning == of(which); }
  float live() const { return scene().latents[static_cast<std::size_t>(latent_)]; }

  int latent_;

 private:
  int moving_ = -1;
  float position_ = 0;
};

// The upper half: the value as it plays, and a mark for the hand's.
class LatentTrack : public LatentPart {
 public:
  LatentTrack(Context context, int latent) : LatentPart(context, latent, "") {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  std::string hint(Point) const override;

 private:
  Rect track() const;
  float height_of(float latent_value) const;
};

// The lower half: the hand's numbers, and the ring that holds the latent where it is.
class LatentValues : public LatentPart {
 public:
  static constexpr float kHeight = 7.5F * theme::kGrid;

  LatentValues(Context context, int latent) : LatentPart(context, latent, "_values") {}
  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;
  void double_click(const Pointer& pointer) override;
  int parameter_at(Point p) const override;
  std::string hint(Point) const override;

 private:
  struct Parts {
    Rect bias, scale, hold;
  };
  Parts parts() const;
  int moved_by(const Pointer& pointer) const override;
};

}  // namespace ravel::plugin::ui
