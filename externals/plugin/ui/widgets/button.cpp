// See button.h.
#include "button.h"

#include "../taper.h"

namespace ravel::plugin::ui {

void draw_chevron(Canvas& canvas, Point c, Button::Face face, Colour colour) {
  constexpr float d = theme::kGrid / 2;
  const Point previous[] = {{c.x + d / 2, c.y - d}, {c.x - d / 2, c.y}, {c.x + d / 2, c.y + d}};
  const Point next[] = {{c.x - d / 2, c.y - d}, {c.x + d / 2, c.y}, {c.x - d / 2, c.y + d}};
  const Point menu[] = {{c.x - d, c.y - d / 2}, {c.x, c.y + d / 2}, {c.x + d, c.y - d / 2}};
  canvas.lines(face == Button::Face::previous ? previous
               : face == Button::Face::next   ? next
                                              : menu,
               colour, theme::kStroke);
}

void Button::look(Look& look) const { look << label() << hovered << pressed << (lit && lit()); }

void Button::draw(Canvas& canvas) {
  const bool on = lit && lit();
  const Colour plate = on ? theme::kHand : pressed || hovered ? theme::kLifted : theme::kRaised;
  const Colour ink = on ? theme::kWindow : theme::kText;
  canvas.fill(bounds, plate, theme::kRadius);
  Rect rest = bounds.inset(theme::kGrid, 0);
  if (face == Face::previous || face == Face::next) {
    draw_chevron(canvas, bounds.centre(), face, ink);
  } else if (face == Face::menu) {
    draw_chevron(canvas, rest.cut_right(theme::kGrid, theme::kGrid).centre(), face, theme::kDim);
    canvas.text(label(), rest, theme::kBody, ink);
  } else {
    canvas.text(label(), rest, theme::kBody, ink, Align::centre);
  }
}

void Button::press(const Pointer& pointer) {
  if (clicked_with_alt && (pointer.fine || pointer.alt))
    clicked_with_alt();
  else
    clicked_();
}

Toggle::Toggle(Context context, int parameter) : Widget(context, about(parameter).symbol), parameter_(parameter) {}

void Toggle::look(Look& look) const { look << on() << hovered << (scene().learning == parameter_); }

void Toggle::draw(Canvas& canvas) {
  const bool learning = scene().learning == parameter_;
  Rect rest = bounds;
  const Rect pill = rest.cut_left(3.5F * theme::kGrid, theme::kGrid).middle(3.5F * theme::kGrid, 2 * theme::kGrid);
  canvas.fill(pill, on() ? theme::kHand : theme::kWell, pill.h / 2);
  const float inset = pill.h / 2;
  const Point knob{on() ? pill.right() - inset : pill.x + inset, pill.centre().y};
  canvas.circle(knob, inset - theme::kStroke, on() ? theme::kWindow : hovered ? theme::kText : theme::kDim);
  canvas.text(learning ? "learning…" : about(parameter_).name, rest, theme::kBody,
              learning          ? theme::kHand
              : on() || hovered ? theme::kText
                                : theme::kDim);
}

void Toggle::press(const Pointer&) { actions().set(parameter_, on() ? 0.0F : 1.0F); }

std::string Toggle::hint(Point) const { return about(parameter_).name + "  ·  click, right click for MIDI"; }

Choice::Choice(Context context, int parameter) : Widget(context, about(parameter).symbol), parameter_(parameter) {}

void Choice::look(Look& look) const { look << value(parameter_) << hovered << (scene().learning == parameter_); }

void Choice::draw(Canvas& canvas) {
  Rect rest = bounds;
  canvas.text(about(parameter_).name, rest.cut_top(2 * theme::kGrid), theme::kCaption,
              hovered ? theme::kText : theme::kDim);
  canvas.fill(face(), hovered ? theme::kLifted : theme::kRaised, theme::kRadius);
  Rect inside = face().inset(theme::kGrid, 0);
  draw_chevron(canvas, inside.cut_right(theme::kGrid, theme::kGrid).centre(), Button::Face::menu, theme::kDim);
  const bool learning = scene().learning == parameter_;
  canvas.text(learning ? "learning…" : text(parameter_, value(parameter_)), inside, theme::kBody,
              learning ? theme::kHand : theme::kText);
}

void Choice::press(const Pointer&) {
  std::vector<MenuItem> items;
  for (int i = 0; i < static_cast<int>(about(parameter_).choices.size()); ++i)
    items.push_back({about(parameter_).choices[static_cast<std::size_t>(i)],
                     [this, i] { actions().set(parameter_, static_cast<float>(i)); },
                     std::lround(value(parameter_)) == i});
  overlays().open_menu(face(), std::move(items));
}

void Choice::wheel(const Pointer&, float lines) {
  const float next = std::round(value(parameter_)) + (lines > 0 ? -1.0F : 1.0F);
  actions().set(parameter_, std::clamp(next, about(parameter_).minimum, about(parameter_).maximum));
}

std::string Choice::hint(Point) const { return about(parameter_).name + "  ·  click to choose, right click for MIDI"; }

}  // namespace ravel::plugin::ui
