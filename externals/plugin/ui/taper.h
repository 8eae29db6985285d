// Where a value stands on a knob: times by their cube root, since the short ones matter, everything else in proportion.
#pragma once

#include <algorithm>
#include <cmath>

#include "../parameters.h"

namespace ravel::plugin::ui {

inline const Parameter& about(int parameter) { return parameters()[static_cast<std::size_t>(parameter)]; }

inline bool is_time(const Parameter& p) { return p.unit == "ms" || p.unit == "s"; }

inline float position_of(int parameter, float value) {
  const Parameter& p = about(parameter);
  const float share = std::clamp((value - p.minimum) / (p.maximum - p.minimum), 0.0F, 1.0F);
  return is_time(p) ? std::cbrt(share) : share;
}

inline float value_at(int parameter, float position) {
  const Parameter& p = about(parameter);
  const float at = std::clamp(position, 0.0F, 1.0F);
  return p.minimum + (p.maximum - p.minimum) * (is_time(p) ? at * at * at : at);
}

}  // namespace ravel::plugin::ui
