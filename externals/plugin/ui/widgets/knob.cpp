// See knob.h.
#include "knob.h"

#include <numbers>

#include "../taper.h"

namespace ravel::plugin::ui {

namespace {

constexpr float kFine = 0.1F, kWheel = 0.02F, kLeastName = 6 * theme::kGrid;
constexpr float kTurn = 1.5F * std::numbers::pi_v<float>, kStart = 0.75F * std::numbers::pi_v<float>;

}  // namespace

Dial::Dial(Context context, int parameter, float pixels)
    : Widget(context, about(parameter).symbol), parameter_(parameter), pixels_(pixels) {}

float Dial::position() const { return position_of(parameter_, value(parameter_)); }

void Dial::press(const Pointer& pointer) {
  actions().begin(parameter_);
  position_ = position();
  if (pointer.control) actions().change(parameter_, about(parameter_).initial);
}

void Dial::drag(const Pointer& pointer) {
  if (pointer.control) return;
  position_ += along(pointer.moved) / pixels_ * (pointer.fine ? kFine : 1);
  position_ = std::clamp(position_, 0.0F, 1.0F);
  actions().change(parameter_, value_at(parameter_, position_));
}

void Dial::release(const Pointer&) { actions().end(parameter_); }

void Dial::double_click(const Pointer&) { overlays().type_value(typing_place(), parameter_); }

void Dial::wheel(const Pointer& pointer, float lines) {
  actions().set(parameter_, value_at(parameter_, position() + lines * kWheel * (pointer.fine ? kFine : 1)));
}

std::string Dial::hint(Point) const {
  return about(parameter_).name + "  ·  drag, shift for fine, double click to type, right click for MIDI";
}

void Knob::look(Look& look) const {
  look.position(position() * 80);
  look << text(parameter_, value(parameter_)) << hovered << pressed << learning();
}

Rect Knob::typing_place() const {
  Rect rest = bounds;
  return rest.cut_bottom(theme::kGrid * 2);
}

void Knob::draw(Canvas& canvas) {
  Rect rest = bounds;
  canvas.text(about(parameter_).name, rest.cut_top(2 * theme::kGrid), theme::kCaption,
              hovered ? theme::kText : theme::kDim, Align::centre);
  const std::string words = learning() ? "learning…" : text(parameter_, value(parameter_));
  canvas.text(words, rest.cut_bottom(2 * theme::kGrid), theme::kCaption, learning() ? theme::kHand : theme::kText,
              Align::centre);

  const Point centre = rest.centre();
  const float radius = std::min(rest.w, rest.h) / 2 - theme::kArc;
  const float rest_at = position_of(parameter_, std::clamp(0.0F, about(parameter_).minimum, about(parameter_).maximum));
  const float from = kStart + kTurn * rest_at, to = kStart + kTurn * position();
  canvas.arc(centre, radius, kStart, kStart + kTurn, theme::kWell, theme::kArc);
  if (std::abs(to - from) > 0.01F) canvas.arc(centre, radius, from, to, theme::kHand, theme::kArc);
  canvas.circle(centre, radius - theme::kArc, hovered || pressed ? theme::kLifted : theme::kRaised);
  const Point direction{std::cos(to), std::sin(to)};
  const float inner = radius * 0.25F, outer = radius - theme::kArc - theme::kStroke;
  canvas.line({centre.x + direction.x * inner, centre.y + direction.y * inner},
              {centre.x + direction.x * outer, centre.y + direction.y * outer}, theme::kText, theme::kStroke);
}

void Slider::press(const Pointer& pointer) {
  Dial::press(pointer);
  const float reached = track().x + position() * track().w;
  if (!pointer.control && std::abs(pointer.at.x - reached) > theme::kGrid) {  // a click jumps there
    Pointer jump = pointer;
    jump.moved = {pointer.at.x - reached, 0};
    drag(jump);
  }
}

void Slider::look(Look& look) const { look.position(position() * track().w) << hovered << pressed << learning(); }

void Slider::draw(Canvas& canvas) {
  const Rect at = track().middle(track().w, theme::kArc);
  canvas.fill(at, theme::kWell, theme::kArc / 2);
  const float x = at.x + position() * at.w;
  canvas.fill({at.x, at.y, x - at.x, at.h}, theme::kHand, theme::kArc / 2);
  canvas.circle({x, at.centre().y}, theme::kGrid * 0.875F, learning() ? theme::kHand : theme::kText);
}

std::string Bar::hint(Point at) const {
  const std::string own = words_(), hosts = Slider::hint(at);
  return hosts.starts_with(own) ? hosts : own + "  ·  " + hosts;
}

void Bar::look(Look& look) const {
  Slider::look(look);
  look << words_() << text(parameter_, value(parameter_));
}

// Where there is no room for both, the value takes the place of the name while the pointer is there.
void Bar::draw(Canvas& canvas) {
  canvas.block(bounds, theme::kWell);
  if (const float filled = std::round(position() * bounds.w); filled > 0)
    canvas.block({bounds.x, bounds.y, filled, bounds.h},
                 theme::kWell.towards(theme::kHand, hovered || pressed ? 0.55F : 0.4F));
  Rect rest = bounds.inset(theme::kGrid / 2, 0);
  if (learning()) return canvas.text("learning…", rest, theme::kCaption, theme::kHand);
  const std::string number = text(parameter_, value(parameter_));
  const float needed = canvas.width(number, theme::kCaption);
  const bool both = rest.w - needed >= kLeastName;
  if (both || hovered || pressed)
    canvas.text(number, rest.cut_right(needed, theme::kGrid / 2), theme::kCaption, theme::kText, Align::right);
  if (both || !(hovered || pressed)) canvas.text(words_(), rest, theme::kCaption, theme::kText);
}

}  // namespace ravel::plugin::ui
