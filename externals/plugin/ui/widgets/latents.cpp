// See latents.h.
#include "latents.h"

#include "../../feed.h"
#include "../taper.h"

namespace ravel::plugin::ui {

namespace {

constexpr int kTrail = 32, kTrailStep = 1;  // values of the feed
constexpr float kTravel = 200;              // pixels of a drag over the whole range

std::string signed_number(float value) {
  char words[16];
  std::snprintf(words, sizeof words, "%+.2f", static_cast<double>(value));
  return words;
}

std::string factor(float value) {
  char words[16];
  std::snprintf(words, sizeof words, "×%.2f", static_cast<double>(value));
  return words;
}

}  // namespace

bool Pad::held() const { return value(id(0, kOverrideOn)) > 0.5F && value(id(1, kOverrideOn)) > 0.5F; }

Point Pad::place(float first, float second) const {
  const auto share = [](float v) { return 0.5F + std::clamp(v, -kLatentRange, kLatentRange) / (2 * kLatentRange); };
  const Rect in = bounds.inset(theme::kGrid);
  return {in.x + share(first) * in.w, in.bottom() - share(second) * in.h};
}

std::vector<Point> Pad::trail() const {
  std::vector<Point> points;
  if (!scene().feed) return points;
  const auto& first = scene().feed->latents[0];
  const auto& second = scene().feed->latents[1];
  const std::uint64_t end = std::min(first.written(), second.written());
  const std::uint64_t most = std::uint64_t{kTrail} * kTrailStep;
  for (std::uint64_t i = end > most ? end - most : 0; i < end; i += kTrailStep)
    points.push_back(place(first.at(i), second.at(i)));
  return points;
}

void Pad::look(Look& look) const {
  look << held() << hovered << (scene().status.latents > 1);
  look.position(place(value(id(0, kOverride)), value(id(1, kOverride))));
  look.position(place(scene().latents[0], scene().latents[1]));
  for (const Point& p : trail()) look.position(p);
}

void Pad::draw_cross(Canvas& canvas, Point at, Colour colour) const {
  canvas.block({at.x, bounds.y, theme::kHairline, bounds.h}, colour);
  canvas.block({bounds.x, at.y, bounds.w, theme::kHairline}, colour);
}

void Pad::draw(Canvas& canvas) {
  canvas.block(bounds, theme::kWell);
  for (int i = 1 - static_cast<int>(kLatentRange); i < static_cast<int>(kLatentRange); ++i) {
    if (i != 0) draw_cross(canvas, place(static_cast<float>(i), static_cast<float>(i)), theme::kPanel);
  }
  draw_cross(canvas, place(0, 0), theme::kLine);
  const Rect words = bounds.inset(theme::kGrid, theme::kGrid / 2);
  Rect rest = words;
  canvas.text("2", rest.cut_top(2 * theme::kGrid), theme::kCaption, theme::kFaint, Align::centre);
  rest = words;
  canvas.text("1", rest.cut_right(theme::kGrid), theme::kCaption, theme::kFaint, Align::right);
  if (scene().status.latents < 2) return;

  const std::vector<Point> points = trail();
  constexpr std::size_t kShades = 4;
  for (std::size_t i = 0; i < kShades; ++i) {  // older is fainter
    const std::size_t from = points.size() * i / kShades,
                      to = std::min(points.size(), points.size() * (i + 1) / kShades + 1);
    if (to > from + 1)
      canvas.lines(std::span(points).subspan(from, to - from), theme::kSound.faded(0.1F + 0.2F * static_cast<float>(i)),
                   1.25F);
  }
  const Point live = place(scene().latents[0], scene().latents[1]);
  canvas.circle(live, theme::kGrid, theme::kSound.faded(0.2F));
  canvas.circle(live, theme::kGrid / 2, theme::kSound);
  if (held()) {
    const Point hand = place(value(id(0, kOverride)), value(id(1, kOverride)));
    canvas.ring(hand, theme::kGrid * 1.25F, theme::kHand);
    draw_cross(canvas, hand, theme::kWell.towards(theme::kHand, 0.4F));
  }
}

void Pad::hold(Point at) {
  const Rect in = bounds.inset(theme::kGrid);
  const auto limited = [](int parameter, float v) {
    return std::clamp(v, about(parameter).minimum, about(parameter).maximum);
  };
  const auto of = [](float share) { return (std::clamp(share, 0.0F, 1.0F) * 2 - 1) * kLatentRange; };
  actions().change(id(0, kOverride), limited(id(0, kOverride), of((at.x - in.x) / in.w)));
  actions().change(id(1, kOverride), limited(id(1, kOverride), of((in.bottom() - at.y) / in.h)));
}

void Pad::press(const Pointer& pointer) {
  for (int latent : {0, 1}) actions().begin(id(latent, kOverride));
  hold(pointer.at);
  for (int latent : {0, 1})
    if (value(id(latent, kOverrideOn)) < 0.5F) actions().set(id(latent, kOverrideOn), 1);
}

void Pad::drag(const Pointer& pointer) { hold(pointer.at); }

void Pad::release(const Pointer&) {
  for (int latent : {0, 1}) actions().end(id(latent, kOverride));
}

void Pad::double_click(const Pointer&) {
  for (int latent : {0, 1}) {
    actions().set(id(latent, kOverrideOn), 0);
    actions().begin(id(latent, kOverride));  // ended by the release
  }
}

// The lower edge is latent 1, the left one latent 2.
int Pad::parameter_at(Point p) const {
  return p.x - bounds.x < bounds.bottom() - p.y ? id(1, kOverride) : id(0, kOverride);
}

std::string Pad::hint(Point) const {
  return "Latents 1 (across) and 2 (up)  ·  drag to hold them there, double click to let go, right click for MIDI";
}

LatentPart::LatentPart(Context context, int latent, const char* suffix)
    : Widget(context, "latent_" + std::to_string(latent + 1) + suffix), latent_(latent) {}

int LatentPart::moved_by(const Pointer& pointer) const {
  return of(pointer.fine || pointer.alt ? kScale : held() ? kOverride : kBias);
}

void LatentPart::press(const Pointer& pointer) {
  moving_ = moved_by(pointer);
  actions().begin(moving_);
  position_ = position_of(moving_, value(moving_));
  if (pointer.control) actions().change(moving_, about(moving_).initial);
}

void LatentPart::drag(const Pointer& pointer) {
  if (moving_ < 0 || pointer.control) return;
  position_ = std::clamp(position_ - pointer.moved.y / kTravel, 0.0F, 1.0F);
  actions().change(moving_, value_at(moving_, position_));
}

void LatentPart::release(const Pointer&) {
  if (moving_ >= 0) actions().end(moving_);
  moving_ = -1;
}

void LatentPart::double_click(const Pointer& pointer) { overlays().type_value(bounds, moved_by(pointer)); }

void LatentPart::wheel(const Pointer& pointer, float lines) {
  const int parameter = moved_by(pointer);
  actions().set(parameter, value_at(parameter, position_of(parameter, value(parameter)) + lines * 0.01F));
}

Rect LatentTrack::track() const {
  Rect rest = bounds;
  rest.cut_top(2 * theme::kGrid);
  return rest.middle(std::min(rest.w, 3 * theme::kGrid), rest.h - theme::kGrid / 2);
}

float LatentTrack::height_of(float v) const {
  const Rect at = track();
  return std::round(at.centre().y - std::clamp(v, -kLatentRange, kLatentRange) / (2 * kLatentRange) * at.h);
}

void LatentTrack::look(Look& look) const {
  look.position(height_of(live())) << marked() << held() << hovered << learning(kBias) << learning(kOverride);
}

void LatentTrack::draw(Canvas& canvas) {
  const Rect at = track();
  Rect rest = bounds;
  const bool waiting = learning(kBias) || learning(kOverride);
  canvas.text(waiting ? "learn" : std::to_string(latent_ + 1), rest.cut_top(2 * theme::kGrid), theme::kCaption,
              waiting   ? theme::kHand
              : hovered ? theme::kText
                        : theme::kDim,
              Align::centre);
  canvas.block(at, theme::kWell);
  const float zero = height_of(0), top = std::min(zero, height_of(live())), bottom = std::max(zero, height_of(live()));
  canvas.block({at.x + theme::kGrid / 2, top, at.w - theme::kGrid, bottom - top},
               theme::kWell.towards(theme::kSound, held() ? 0.45F : 0.9F));
  canvas.block({at.x, zero, at.w, theme::kHairline}, theme::kFaint);

  const bool moved = held() || marked() != 0;
  const float y = height_of(marked()), d = theme::kGrid / 2;
  if (held()) canvas.block({at.x, y - theme::kStroke / 2, at.w, theme::kStroke}, theme::kHand);
  canvas.triangle({at.right(), y}, {at.right() + d * 1.4F, y - d}, {at.right() + d * 1.4F, y + d},
                  moved     ? theme::kHand
                  : hovered ? theme::kDim
                            : theme::kFaint);
}

std::string LatentTrack::hint(Point) const {
  return "Latent " + std::to_string(latent_ + 1) +
         (held() ? "  ·  drag the value that it is held at, with shift its scale"
                 : "  ·  drag its bias, with shift its scale");
}

LatentValues::Parts LatentValues::parts() const {
  Rect rest = bounds;
  Parts p;
  p.bias = rest.cut_top(2 * theme::kGrid, theme::kGrid / 2);
  p.scale = rest.cut_top(2 * theme::kGrid, theme::kGrid / 2);
  p.hold = rest;
  return p;
}

void LatentValues::look(Look& look) const {
  look << marked() << held() << value(of(kScale)) << hovered << learning(kScale) << learning(kOverrideOn);
}

void LatentValues::draw(Canvas& canvas) {
  const Parts p = parts();
  const bool moved = held() || marked() != 0, scaled = value(of(kScale)) != about(of(kScale)).initial;
  canvas.text(signed_number(marked()), p.bias, theme::kCaption, moved ? theme::kHand : theme::kDim, Align::centre);
  canvas.text(learning(kScale) ? "learn" : factor(value(of(kScale))), p.scale, theme::kCaption,
              scaled || learning(kScale) ? theme::kHand : theme::kFaint, Align::centre);
  const Point centre = p.hold.centre();
  const bool lit = held() || learning(kOverrideOn);
  canvas.ring(centre, theme::kGrid * 0.75F, lit ? theme::kHand : hovered ? theme::kDim : theme::kFaint);
  if (held()) canvas.circle(centre, theme::kGrid * 0.375F, theme::kHand);
}

int LatentValues::moved_by(const Pointer& pointer) const {
  return parts().scale.contains(pointer.at) ? of(kScale) : LatentPart::moved_by(pointer);
}

void LatentValues::press(const Pointer& pointer) {
  if (!parts().hold.contains(pointer.at)) return LatentPart::press(pointer);
  if (!held()) {
    const Parameter& p = about(of(kOverride));
    actions().set(of(kOverride), std::clamp(live(), p.minimum, p.maximum));
  }
  actions().set(of(kOverrideOn), held() ? 0.0F : 1.0F);
}

void LatentValues::double_click(const Pointer& pointer) {
  if (parts().hold.contains(pointer.at)) return press(pointer);
  overlays().type_value(moved_by(pointer) == of(kScale) ? parts().scale : parts().bias, moved_by(pointer));
}

int LatentValues::parameter_at(Point p) const {
  return parts().hold.contains(p) ? of(kOverrideOn) : moved_by(Pointer{p});
}

std::string LatentValues::hint(Point p) const {
  const std::string number = "Latent " + std::to_string(latent_ + 1) + "  ·  ";
  if (parts().hold.contains(p)) return number + (held() ? "click to let it go" : "click to hold it where it is");
  return number +
         (parts().scale.contains(p) ? "its scale"
          : held()                  ? "the value that it is held at"
                                    : "its bias") +
         ": drag, or double click to type";
}

}  // namespace ravel::plugin::ui
