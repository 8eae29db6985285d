// The whole interface: events go to the widget under the pointer, and only what looks different is drawn again.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "board.h"
#include "overlay.h"

namespace ravel::plugin::ui {

class View : public Overlays {
 public:
  View(const Scene& scene, Actions& actions);

  void resize(float width, float height);
  Rect window() const { return window_; }
  const std::vector<Widget*>& widgets() const { return board_.shown(); }

  void redraw() { everything_ = true; }
  // Whether anything must be drawn: the feed is read, and every look compared with the one that was drawn.
  bool changed();
  // In frames of their own: what lies under the widgets, where everything has to be drawn; the widgets that changed, and
  // where they are; what lies over them.
  bool wants_ground() const { return everything_; }
  void draw_ground(Canvas& canvas);
  std::vector<Rect> draw(Canvas& canvas);
  void draw_over(Canvas& canvas);

  void press(const Pointer& pointer, bool right, double now_s);
  void release(const Pointer& pointer);
  void move(const Pointer& pointer);
  void wheel(const Pointer& pointer, float lines);
  bool key(unsigned key);  // true: taken

  void open_menu(const Rect& anchor, std::vector<MenuItem> items) override;
  void type_value(const Rect& anchor, int parameter) override;

 private:
  Widget* at(Point p) const;
  void hover(Point p);
  void settle(const Overlay::Outcome& outcome);
  void open_context_menu(int parameter, Point p);

  const Scene& scene_;
  Actions& actions_;
  Board board_;
  Rect window_;
  std::unique_ptr<Overlay> overlay_;
  std::vector<MenuItem> menu_;  // to be measured when it is first drawn
  Rect menu_anchor_;
  bool overlay_changed_ = false, everything_ = true;
  std::unordered_map<const Widget*, std::uint64_t> drawn_;

  Widget *hovered_ = nullptr, *grabbed_ = nullptr, *clicked_ = nullptr;
  Point last_, clicked_at_;
  double clicked_s_ = -1;
};

}  // namespace ravel::plugin::ui
