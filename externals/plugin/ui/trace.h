// A line of JSON on the standard output for everything that a test wants to know, where RAVEL_UI_TRACE is set.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "view.h"

namespace ravel::plugin::ui::trace {

inline bool on() {
  static const bool is_on = std::getenv("RAVEL_UI_TRACE") != nullptr;
  return is_on;
}

inline void value(int parameter, float value) {
  if (!on()) return;
  std::printf("{\"set\": \"%s\", \"value\": %g}\n", parameters()[static_cast<std::size_t>(parameter)].symbol.c_str(),
              static_cast<double>(value));
  std::fflush(stdout);
}

inline void event(const char* what, int number) {
  if (!on()) return;
  std::printf("{\"%s\": %d}\n", what, number);
  std::fflush(stdout);
}

// Where every widget is, in pixels of the window.
inline void layout(const View& view, float scale) {
  if (!on()) return;
  std::printf("{\"size\": [%g, %g], \"widgets\": {", static_cast<double>(view.window().w * scale),
              static_cast<double>(view.window().h * scale));
  const char* separator = "";
  for (const Widget* widget : view.widgets()) {
    const Rect& at = widget->bounds;
    std::printf("%s\"%s\": [%g, %g, %g, %g]", separator, widget->name().c_str(), static_cast<double>(at.x * scale),
                static_cast<double>(at.y * scale), static_cast<double>(at.w * scale),
                static_cast<double>(at.h * scale));
    separator = ", ";
  }
  std::printf("}}\n");
  std::fflush(stdout);
}

}  // namespace ravel::plugin::ui::trace
