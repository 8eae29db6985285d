// See overlay.h.
#include "overlay.h"

#include <cstdlib>

#include "taper.h"

namespace ravel::plugin::ui {

namespace {

// Below its anchor, or above where there is no room, and within the window.
Rect placed(const Rect& anchor, float width, float height, const Rect& window) {
  const Rect inside = window.inset(theme::kGrid);
  const float h = std::min(height, inside.h), w = std::min(width, inside.w);
  const float below = anchor.bottom() + theme::kGrid / 2, above = anchor.y - theme::kGrid / 2 - h;
  const float y = below + h <= inside.bottom() ? below : above >= inside.y ? above : inside.bottom() - h;
  return {std::clamp(anchor.x, inside.x, inside.right() - w), y, w, h};
}

void draw_plate(Canvas& canvas, const Rect& rect) {
  canvas.shadow(rect, theme::kRadius);
  canvas.fill(rect, theme::kRaised, theme::kRadius);
  canvas.outline(rect, theme::kLifted, theme::kRadius);
}

}  // namespace

Menu::Menu(const Rect& anchor, std::vector<MenuItem> items, const Rect& window, float width)
    : items_(std::move(items)) {
  const float most = 16 * kRow + theme::kGrid, all = static_cast<float>(items_.size()) * kRow + theme::kGrid;
  bounds_ = placed(anchor, std::max(width, anchor.w), std::min(all, most), window);
  for (std::size_t i = 0; i < items_.size(); ++i)
    if (items_[i].checked) show(static_cast<int>(i));
}

void Menu::show(int item) {
  const int last = std::max(0, static_cast<int>(items_.size()) - rows());
  if (item < first_) first_ = item;
  if (item >= first_ + rows()) first_ = item - rows() + 1;
  first_ = std::clamp(first_, 0, last);
}

int Menu::item_at(Point p) const {
  if (!bounds_.contains(p)) return -1;
  const int item = first_ + static_cast<int>((p.y - bounds_.y - theme::kGrid / 2) / kRow);
  return item < static_cast<int>(items_.size()) && items_[static_cast<std::size_t>(item)].chosen ? item : -1;
}

void Menu::draw(Canvas& canvas) {
  draw_plate(canvas, bounds_);
  Rect rest = bounds_.inset(theme::kGrid / 2);
  canvas.clip(rest);
  const int end = std::min(static_cast<int>(items_.size()), first_ + rows());
  for (int i = first_; i < end; ++i) {
    const MenuItem& item = items_[static_cast<std::size_t>(i)];
    Rect row = rest.cut_top(kRow);
    if (i == hovered_) canvas.fill(row, theme::kHand, theme::kRadius / 2);
    const Colour ink = i == hovered_ ? theme::kWindow : item.chosen ? theme::kText : theme::kFaint;
    const Rect mark = row.cut_left(2.5F * theme::kGrid);
    if (item.checked) canvas.circle(mark.centre(), 3, i == hovered_ ? theme::kWindow : theme::kHand);
    canvas.text(item.label, row.inset(theme::kGrid / 4, 0), item.chosen ? theme::kBody : theme::kCaption, ink);
  }
  if (static_cast<int>(items_.size()) > rows()) {
    const float share = static_cast<float>(rows()) / static_cast<float>(items_.size());
    const float from = static_cast<float>(first_) / static_cast<float>(items_.size());
    const Rect inside = bounds_.inset(theme::kGrid / 2);
    canvas.fill({inside.right() - 3, inside.y + from * inside.h, 3, share * inside.h}, theme::kFaint, 1.5F);
  }
  canvas.no_clip();
}

Overlay::Outcome Menu::choose(int item) const {
  if (item < 0) return {};
  return {.over = true, .then = items_[static_cast<std::size_t>(item)].chosen};
}

Overlay::Outcome Menu::press(Point p) {
  if (!bounds_.contains(p)) return {.over = true};
  return choose(item_at(p));
}

void Menu::wheel(float lines) {
  const int last = std::max(0, static_cast<int>(items_.size()) - rows());
  first_ = std::clamp(first_ - static_cast<int>(std::lround(lines)), 0, last);
  hovered_ = -1;
}

Overlay::Outcome Menu::key(unsigned key) {
  if (key == dgl::kKeyEscape) return {.over = true};
  if (key == '\r' || key == '\n') return choose(hovered_);
  const int step = key == dgl::kKeyDown ? 1 : key == dgl::kKeyUp ? -1 : 0;
  for (int i = hovered_ + step; step != 0 && i >= 0 && i < static_cast<int>(items_.size()); i += step) {
    if (!items_[static_cast<std::size_t>(i)].chosen) continue;
    hovered_ = i;
    show(i);
    break;
  }
  return {};
}

Entry::Entry(const Rect& anchor, int parameter, Actions& actions, const Rect& window)
    : parameter_(parameter), actions_(actions) {
  const Rect wanted = anchor.middle(std::max(anchor.w, 9 * theme::kGrid), theme::kControl),
             in = window.inset(theme::kGrid);
  bounds_ = {std::clamp(wanted.x, in.x, in.right() - wanted.w), std::clamp(wanted.y, in.y, in.bottom() - wanted.h),
             wanted.w, wanted.h};
}

void Entry::draw(Canvas& canvas) {
  draw_plate(canvas, bounds_);
  canvas.outline(bounds_, theme::kHand, theme::kRadius);
  const std::string unit = about(parameter_).unit;
  canvas.text(typed_ + "|" + (unit.empty() ? "" : " " + unit), bounds_.inset(theme::kGrid / 2, 0), theme::kBody,
              theme::kText, Align::centre);
}

Overlay::Outcome Entry::key(unsigned key) {
  if (key == dgl::kKeyEscape) return {.over = true};
  if (key == '\r' || key == '\n') {
    char* end = nullptr;
    const float value = std::strtof(typed_.c_str(), &end);
    const Parameter& p = about(parameter_);
    if (end != typed_.c_str()) actions_.set(parameter_, std::clamp(value, p.minimum, p.maximum));
    return {.over = true};
  }
  if (key == dgl::kKeyBackspace && !typed_.empty()) typed_.pop_back();
  if (key == ',') key = '.';
  const bool numeral = (key >= '0' && key <= '9') || key == '.' || key == '-' || key == '+';
  if (numeral && typed_.size() < 8) typed_.push_back(static_cast<char>(key));
  return {};
}

}  // namespace ravel::plugin::ui
