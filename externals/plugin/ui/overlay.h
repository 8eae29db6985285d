// What lies over everything for a moment: a menu, or a field for a typed value.
#pragma once

#include <functional>
#include <utility>

#include "widget.h"

namespace ravel::plugin::ui {

class Overlay {
 public:
  struct Outcome {
    bool over = false;
    std::function<void()> then = nullptr;  // once it is gone
  };

  virtual ~Overlay() = default;
  virtual Rect bounds() const = 0;
  virtual void draw(Canvas& canvas) = 0;
  virtual bool hover(Point) { return false; }  // true: it looks different
  virtual Outcome press(Point) = 0;
  virtual void wheel(float) {}
  virtual Outcome key(unsigned) = 0;
};

class Menu : public Overlay {
 public:
  Menu(const Rect& anchor, std::vector<MenuItem> items, const Rect& window, float width);

  Rect bounds() const override { return bounds_; }
  void draw(Canvas& canvas) override;
  bool hover(Point p) override { return std::exchange(hovered_, item_at(p)) != hovered_; }
  Outcome press(Point p) override;
  void wheel(float lines) override;
  Outcome key(unsigned key) override;

 private:
  static constexpr float kRow = 3 * theme::kGrid;
  int item_at(Point p) const;
  int rows() const { return static_cast<int>((bounds_.h - theme::kGrid) / kRow); }
  Outcome choose(int item) const;
  void show(int item);

  std::vector<MenuItem> items_;
  Rect bounds_;
  int first_ = 0, hovered_ = -1;
};

class Entry : public Overlay {
 public:
  Entry(const Rect& anchor, int parameter, Actions& actions, const Rect& window);

  Rect bounds() const override { return bounds_; }
  void draw(Canvas& canvas) override;
  Outcome press(Point p) override { return {.over = !bounds_.contains(p)}; }
  Outcome key(unsigned key) override;

 private:
  Rect bounds_;
  int parameter_;
  Actions& actions_;
  std::string typed_;
};

}  // namespace ravel::plugin::ui
