// Pixels as a texture, put on the window as they are: what costs little in software too, where NanoVG's shading does not.
#pragma once

#include <cstdint>

#include "canvas.h"

namespace ravel::plugin::ui {

// Everything with the window's context current. OpenGL 1.1 only, so that no platform needs functions looked up; the
// texture goes with the context.
class Picture {
 public:
  enum class Edge { clamp, repeat };
  // `pixels`: RGBA, or null.
  void create(int width, int height, const std::uint8_t* pixels, Edge edge);
  bool created() const { return texture_ != 0; }
  void update(int x, int width, const std::uint8_t* pixels);     // a band of columns of an RGBA picture of this size
  void copy_from_window(const Rect& pixels) const;               // of the same size
  void draw(const Rect& pixels, float left, float right) const;  // the share from `left` to `right` of its width

 protected:
  int width_ = 0, height_ = 0;

 private:
  void bind() const;
  unsigned texture_ = 0;
};

// The window's last frame: the next one starts from it, and only what changed is drawn on top.
class Layer : public Picture {
 public:
  bool resize(int width, int height);  // true: the frame was lost, and everything must be drawn
  void put() const;
};

}  // namespace ravel::plugin::ui
