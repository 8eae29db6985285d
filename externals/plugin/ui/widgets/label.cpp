// See label.h.
#include "label.h"

#include <numbers>

#include "../taper.h"

namespace ravel::plugin::ui {

namespace {

// "/a/b/c.ravel: what is wrong" -> "c.ravel: what is wrong"
std::string without_folders(const std::string& message) {
  const std::size_t colon = message.find(": "), slash = message.find_last_of("/\\", colon);
  return colon == std::string::npos || slash == std::string::npos ? message : message.substr(slash + 1);
}

}  // namespace

// Two threads that cross: the hand's and the model's.
void Brand::draw(Canvas& canvas) {
  Rect rest = bounds;
  const Rect mark = rest.cut_left(3 * theme::kGrid, theme::kGrid).middle(3 * theme::kGrid, 2 * theme::kGrid);
  for (int strand : {0, 1}) {
    Point points[25];
    for (int i = 0; i < 25; ++i) {
      const float at = static_cast<float>(i) / 24, turn = at * 1.5F * std::numbers::pi_v<float>;
      const float y = std::cos(turn + static_cast<float>(strand) * std::numbers::pi_v<float>);
      points[i] = {mark.x + at * mark.w, mark.centre().y + y * mark.h / 2 * 0.9F};
    }
    canvas.lines(points, strand == 0 ? theme::kHand : theme::kSound, 2.5F);
  }
  canvas.text(scene().title, rest, theme::kBrand, theme::kText);
}

void Footer::look(Look& look) const {
  look << scene().status.message << scene().status.missing << scene().learning << help << hovered;
}

Rect Footer::button() const {
  Rect rest = plate().inset(2);
  return rest.cut_right(11 * theme::kGrid);
}

void Footer::draw(Canvas& canvas) {
  Rect rest = bounds.inset(theme::kPadding, 0);
  if (scene().learning >= 0) {
    canvas.text(
        "Move a controller to assign it to " + about(scene().learning).name + ". Click here or press Esc to stop.",
        rest, theme::kBody, theme::kHand);
    return;
  }
  const std::string& message = scene().status.message;
  if (message.empty()) {
    canvas.text(help, rest, theme::kCaption, theme::kFaint);
    return;
  }
  canvas.fill(plate(), theme::kHand.faded(0.16F), theme::kRadius);
  if (locates()) {
    rest.cut_right(button().w, theme::kGrid);
    canvas.fill(button(), theme::kHand, theme::kRadius - 2);
    canvas.text("Locate…", button(), theme::kBody, theme::kWindow, Align::centre);
  }
  const Rect mark = rest.cut_left(2 * theme::kGrid, theme::kGrid).middle(2 * theme::kGrid, 2 * theme::kGrid);
  canvas.triangle({mark.centre().x, mark.y + 1}, {mark.right(), mark.bottom() - 1}, {mark.x, mark.bottom() - 1},
                  theme::kHand);
  canvas.text("!", {mark.x, mark.y + 2, mark.w, mark.h}, theme::kCaption, theme::kWindow, Align::centre);
  const bool fits = canvas.width(message, theme::kBody) <= rest.w;
  canvas.text(fits ? message : without_folders(message), rest, theme::kBody, theme::kText);
}

void Footer::press(const Pointer& pointer) {
  if (scene().learning >= 0)
    actions().learn(-1);
  else if (locates() && button().contains(pointer.at))
    actions().browse_models();
}

}  // namespace ravel::plugin::ui
