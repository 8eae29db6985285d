// Shapes and text on a NanoVG context, in logical pixels.
#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "NanoVG.hpp"
#include "theme.h"

namespace ravel::plugin::ui {

namespace dgl = DGL_NAMESPACE;
using theme::Colour;

struct Point {
  float x = 0, y = 0;
};

// Layouts are cut from a rectangle: every `cut_` takes a strip off and leaves the rest.
struct Rect {
  float x = 0, y = 0, w = 0, h = 0;

  float right() const { return x + w; }
  float bottom() const { return y + h; }
  Point centre() const { return {x + w / 2, y + h / 2}; }
  bool contains(Point p) const { return p.x >= x && p.x < right() && p.y >= y && p.y < bottom(); }
  Rect inset(float dx, float dy) const { return {x + dx, y + dy, w - 2 * dx, h - 2 * dy}; }
  Rect inset(float by) const { return inset(by, by); }
  Rect middle(float width, float height) const { return {x + (w - width) / 2, y + (h - height) / 2, width, height}; }

  Rect cut_top(float size, float gap = 0) {
    const Rect strip{x, y, w, size};
    y += size + gap, h -= size + gap;
    return strip;
  }
  Rect cut_bottom(float size, float gap = 0) {
    h -= size + gap;
    return {x, bottom() + gap, w, size};
  }
  Rect cut_left(float size, float gap = 0) {
    const Rect strip{x, y, size, h};
    x += size + gap, w -= size + gap;
    return strip;
  }
  Rect cut_right(float size, float gap = 0) {
    w -= size + gap;
    return {right() + gap, y, size, h};
  }
};

enum class Align { left, centre, right };

class Canvas {
 public:
  Canvas(dgl::NanoVG& vg, float scale, float window_height_px)
      : vg_(vg), scale_(scale), window_height_px_(window_height_px) {}

  // Opaque grounds and hairlines, under everything else of the frame whenever they are drawn. Cleared, not shaded:
  // in software GL that is some thirty times cheaper than `fill`.
  void block(const Rect& rect, Colour colour);
  Rect pixels(const Rect& rect) const;  // of the window, whole ones

  void clip(const Rect& rect) { vg_.scissor(rect.x, rect.y, rect.w, rect.h); }
  void no_clip() { vg_.resetScissor(); }

  void fill(const Rect& rect, Colour colour, float radius = 0);
  void outline(const Rect& rect, Colour colour, float radius = 0, float width = theme::kHairline);
  void circle(Point centre, float radius, Colour colour);
  void ring(Point centre, float radius, Colour colour, float width = theme::kStroke);
  void arc(Point centre, float radius, float from, float to, Colour colour, float width);
  void line(Point from, Point to, Colour colour, float width = theme::kHairline);
  void lines(std::span<const Point> points, Colour colour, float width = theme::kStroke);
  void area(std::span<const Point> points, float floor, Colour colour);
  void triangle(Point a, Point b, Point c, Colour colour);
  void shadow(const Rect& rect, float radius);

  // One line, centred vertically, with an ellipsis where the rectangle is too narrow.
  void text(const std::string& words, const Rect& rect, float size, Colour colour, Align align = Align::left);
  // As many lines as the rectangle has room for.
  void paragraph(const std::string& words, const Rect& rect, float size, Colour colour);
  float width(const std::string& words, float size);

 private:
  void font(float size, int align);
  std::string fitted(const std::string& words, float width, float size);

  dgl::NanoVG& vg_;
  float scale_, window_height_px_;
};

}  // namespace ravel::plugin::ui
