// See canvas.h.
#include "canvas.h"

#include <cmath>
#include <sstream>

namespace ravel::plugin::ui {

namespace {

using dgl::NanoVG;

dgl::Color of(Colour colour) { return {colour.r / 255.0F, colour.g / 255.0F, colour.b / 255.0F, colour.alpha}; }

// A hairline is sharp where its middle is the middle of a pixel.
Rect sharp(const Rect& rect, float width) { return rect.inset(width / 2); }

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

Rect Canvas::pixels(const Rect& rect) const {
  const float left = std::round(rect.x * scale_), top = std::round(rect.y * scale_);
  return {left, top, std::round(rect.right() * scale_) - left, std::round(rect.bottom() * scale_) - top};
}

void Canvas::block(const Rect& rect, Colour colour) {
  const Rect at = pixels(rect);
  glEnable(GL_SCISSOR_TEST);
  glScissor(static_cast<int>(at.x), static_cast<int>(window_height_px_ - at.bottom()),
            static_cast<int>(std::max(1.0F, at.w)), static_cast<int>(std::max(1.0F, at.h)));
  glClearColor(colour.r / 255.0F, colour.g / 255.0F, colour.b / 255.0F, 1);
  glClear(GL_COLOR_BUFFER_BIT);
  glDisable(GL_SCISSOR_TEST);
}

void Canvas::fill(const Rect& rect, Colour colour, float radius) {
  vg_.beginPath();
  if (radius > 0)
    vg_.roundedRect(rect.x, rect.y, rect.w, rect.h, radius);
  else
    vg_.rect(rect.x, rect.y, rect.w, rect.h);
  vg_.fillColor(of(colour));
  vg_.fill();
}

void Canvas::outline(const Rect& rect, Colour colour, float radius, float width) {
  const Rect at = sharp(rect, width);
  vg_.beginPath();
  vg_.roundedRect(at.x, at.y, at.w, at.h, radius);
  vg_.strokeColor(of(colour));
  vg_.strokeWidth(width);
  vg_.stroke();
}

void Canvas::circle(Point centre, float radius, Colour colour) {
  vg_.beginPath();
  vg_.circle(centre.x, centre.y, radius);
  vg_.fillColor(of(colour));
  vg_.fill();
}

void Canvas::ring(Point centre, float radius, Colour colour, float width) {
  vg_.beginPath();
  vg_.circle(centre.x, centre.y, radius);
  vg_.strokeColor(of(colour));
  vg_.strokeWidth(width);
  vg_.stroke();
}

void Canvas::arc(Point centre, float radius, float from, float to, Colour colour, float width) {
  vg_.beginPath();
  vg_.arc(centre.x, centre.y, radius, std::min(from, to), std::max(from, to), NanoVG::CW);
  vg_.lineCap(NanoVG::ROUND);
  vg_.strokeColor(of(colour));
  vg_.strokeWidth(width);
  vg_.stroke();
  vg_.lineCap(NanoVG::BUTT);
}

void Canvas::line(Point from, Point to, Colour colour, float width) {
  const Point ends[] = {from, to};
  lines(ends, colour, width);
}

void Canvas::lines(std::span<const Point> points, Colour colour, float width) {
  if (points.empty()) return;
  vg_.beginPath();
  vg_.moveTo(points[0].x, points[0].y);
  for (const Point& p : points.subspan(1)) vg_.lineTo(p.x, p.y);
  vg_.lineJoin(NanoVG::BEVEL);
  vg_.strokeColor(of(colour));
  vg_.strokeWidth(width);
  vg_.stroke();
}

void Canvas::area(std::span<const Point> points, float floor, Colour colour) {
  if (points.empty()) return;
  vg_.beginPath();
  vg_.moveTo(points.front().x, floor);
  for (const Point& p : points) vg_.lineTo(p.x, p.y);
  vg_.lineTo(points.back().x, floor);
  vg_.closePath();
  vg_.fillColor(of(colour));
  vg_.fill();
}

void Canvas::triangle(Point a, Point b, Point c, Colour colour) {
  vg_.beginPath();
  vg_.moveTo(a.x, a.y);
  vg_.lineTo(b.x, b.y);
  vg_.lineTo(c.x, c.y);
  vg_.closePath();
  vg_.fillColor(of(colour));
  vg_.fill();
}

void Canvas::shadow(const Rect& rect, float radius) {
  const float reach = 2 * theme::kGrid;
  const Rect around = rect.inset(-reach);
  vg_.beginPath();
  vg_.rect(around.x, around.y, around.w, around.h);
  vg_.fillPaint(vg_.boxGradient(rect.x, rect.y + reach / 4, rect.w, rect.h, radius, reach, dgl::Color(0, 0, 0, 0.5F),
                                dgl::Color(0, 0, 0, 0.0F)));
  vg_.fill();
}

void Canvas::font(float size, int align) {
  vg_.fontFace(NANOVG_DEJAVU_SANS_TTF);
  vg_.fontSize(size);
  vg_.textAlign(align);
}

float Canvas::width(const std::string& words, float size) {
  font(size, NanoVG::ALIGN_LEFT);
  dgl::Rectangle<float> bounds;
  return vg_.textBounds(0, 0, words.c_str(), nullptr, bounds);
}

std::string Canvas::fitted(const std::string& words, float room, float size) {
  if (width(words, size) <= room) return words;
  std::string cut = words;
  while (!cut.empty() && width(cut + "…", size) > room) {
    while (cut.size() > 1 && continues(cut.back())) cut.pop_back();
    cut.pop_back();
  }
  while (!cut.empty() && cut.back() == ' ') cut.pop_back();
  return cut + "…";
}

void Canvas::text(const std::string& words, const Rect& rect, float size, Colour colour, Align align) {
  if (words.empty()) return;
  const std::string line = fitted(words, rect.w, size);
  const int sides[] = {NanoVG::ALIGN_LEFT, NanoVG::ALIGN_CENTER, NanoVG::ALIGN_RIGHT};
  const float x = align == Align::left ? rect.x : align == Align::centre ? rect.centre().x : rect.right();
  font(size, sides[static_cast<int>(align)] | NanoVG::ALIGN_MIDDLE);
  vg_.fillColor(of(colour));
  vg_.text(x, rect.centre().y, line.c_str(), nullptr);
}

void Canvas::paragraph(const std::string& words, const Rect& rect, float size, Colour colour) {
  const float height = size * 1.35F;
  Rect rest = rect;
  std::istringstream in(words);
  std::string line, word;
  while (in >> word) {
    const std::string longer = line.empty() ? word : line + " " + word;
    const bool last = rest.h < 2 * height;
    if (last || line.empty() || width(longer, size) <= rect.w) {
      line = longer;
      continue;
    }
    text(line, rest.cut_top(height), size, colour);
    line = word;
  }
  if (rest.h >= height) text(line, rest.cut_top(height), size, colour);
}

}  // namespace ravel::plugin::ui
