// One control or display: it draws itself, says what it looks like, and takes the pointer while pressed.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "canvas.h"
#include "scene.h"

namespace ravel::plugin::ui {

// A hash of everything that a widget shows: it is drawn again when, and only when, this changes.
class Look {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T> Look& operator<<(T value) {
    if constexpr (std::is_floating_point_v<T>)
      return mix(std::bit_cast<std::uint64_t>(static_cast<double>(value)));
    else
      return mix(static_cast<std::uint64_t>(value));
  }
  Look& operator<<(const std::string& words) { return mix(std::hash<std::string>{}(words)); }
  // Positions count by quarters of a pixel.
  Look& position(float pixels) { return *this << std::lround(std::clamp(pixels, -1e6F, 1e6F) * 4); }
  Look& position(Point p) { return position(p.x).position(p.y); }
  std::uint64_t value() const { return hash_; }

 private:
  Look& mix(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9E3779B97F4A7C15U;
    hash_ ^= hash_ >> 29U;
    return *this;
  }
  std::uint64_t hash_ = 1;
};

struct Pointer {
  Point at{}, moved{};  // since the last event
  bool fine = false, control = false, alt = false;
};

class Widget {
 public:
  Widget(Context context, std::string name) : context_(context), name_(std::move(name)) {}
  virtual ~Widget() = default;
  Widget(const Widget&) = delete;
  Widget& operator=(const Widget&) = delete;

  const std::string& name() const { return name_; }
  Rect bounds;
  Colour ground = theme::kPanel;  // what lies under it
  bool hovered = false, pressed = false;

  virtual void look(Look& look) const = 0;
  virtual void draw(Canvas& canvas) = 0;

  virtual bool takes(Point p) const { return bounds.contains(p); }
  virtual void press(const Pointer&) {}
  virtual void drag(const Pointer&) {}
  virtual void release(const Pointer&) {}
  virtual void double_click(const Pointer& pointer) { press(pointer); }
  virtual void wheel(const Pointer&, float) {}
  virtual int parameter_at(Point) const { return -1; }  // for the context menu and the hint
  virtual std::string hint(Point) const { return {}; }

 protected:
  const Scene& scene() const { return context_.scene; }
  Actions& actions() const { return context_.actions; }
  Overlays& overlays() const { return context_.overlays; }
  float value(int parameter) const { return scene().values[static_cast<std::size_t>(parameter)]; }

 private:
  Context context_;
  std::string name_;
};

}  // namespace ravel::plugin::ui
