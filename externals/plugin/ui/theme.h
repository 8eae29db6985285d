// The look in one place: an 8 px grid, four sizes of type, neutral greys, and two accents that mean something.
#pragma once

#include <cstdint>

namespace ravel::plugin::ui::theme {

struct Colour {
  std::uint8_t r = 0, g = 0, b = 0;
  float alpha = 1;
  constexpr Colour faded(float by) const { return {r, g, b, alpha * by}; }
  constexpr Colour towards(Colour to, float share) const {  // opaque
    const auto mix = [share](float from, float end) {
      return static_cast<std::uint8_t>(from + share * (end - from) + 0.5F);
    };
    return {mix(r, to.r), mix(g, to.g), mix(b, to.b)};
  }
};

inline constexpr Colour kWindow{22, 24, 27}, kPanel{31, 34, 38}, kWell{20, 22, 25}, kRaised{44, 48, 54},
    kLifted{56, 61, 68}, kLine{58, 63, 70}, kText{232, 234, 237}, kDim{158, 166, 176}, kFaint{122, 130, 141};
inline constexpr Colour kHand{242, 169, 78};   // what the player does: values, markers, held latents
inline constexpr Colour kSound{82, 203, 194};  // what the model does: live values, spectra, load

inline constexpr float kGrid = 8;
inline constexpr float kMargin = 2 * kGrid, kGap = kGrid, kPadding = 1.5F * kGrid, kRadius = 6, kControl = 3 * kGrid;
inline constexpr float kCaption = 11, kBody = 13, kTitle = 16, kBrand = 20;
inline constexpr float kHairline = 1, kStroke = 2, kArc = 4;

}  // namespace ravel::plugin::ui::theme
