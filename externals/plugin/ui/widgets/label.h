// Words that stand by themselves: the brand, captions of panels, and the line at the bottom.
#pragma once

#include <functional>

#include "../widget.h"

namespace ravel::plugin::ui {

class Brand : public Widget {
 public:
  explicit Brand(Context context) : Widget(context, "brand") {}
  void look(Look& look) const override { look << scene().title; }
  void draw(Canvas& canvas) override;
};

class Label : public Widget {
 public:
  Label(Context context, std::string name, std::function<std::string()> words)
      : Widget(context, std::move(name)), words_(std::move(words)) {}
  void look(Look& look) const override { look << words_(); }
  void draw(Canvas& canvas) override { canvas.text(words_(), bounds, theme::kCaption, theme::kDim); }

 private:
  std::function<std::string()> words_;
};

// The newest error or warning; while there is none, what the pointer is over.
class Footer : public Widget {
 public:
  explicit Footer(Context context) : Widget(context, "footer") {}
  std::string help;  // of what the pointer is over

  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  void press(const Pointer& pointer) override;

 private:
  bool locates() const { return scene().status.missing; }
  Rect plate() const { return bounds.inset(0, theme::kGrid / 2); }
  Rect button() const;
};

}  // namespace ravel::plugin::ui
