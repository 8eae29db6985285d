// See view.h.
#include "view.h"

#include "taper.h"

namespace ravel::plugin::ui {

namespace {

constexpr double kDoubleClick_s = 0.35;
constexpr float kDoubleClick = 4;

std::uint64_t look_of(const Widget& widget) {
  Look look;
  widget.look(look);
  return look.value();
}

}  // namespace

View::View(const Scene& scene, Actions& actions)
    : scene_(scene), actions_(actions), board_(Context{scene, actions, *this}) {}

void View::resize(float width, float height) {
  window_ = {0, 0, width, height};
  board_.lay_out(window_);
  overlay_.reset();
  everything_ = true;
}

bool View::changed() {
  board_.input().listen();
  board_.output().listen();
  if (board_.follow_model()) everything_ = true;
  if (everything_ || overlay_changed_) return true;
  return std::ranges::any_of(board_.shown(), [this](const Widget* widget) {
    const auto drawn = drawn_.find(widget);
    return drawn == drawn_.end() || drawn->second != look_of(*widget);
  });
}

void View::draw_ground(Canvas& canvas) {
  canvas.block(window_, theme::kWindow);
  for (const Rect& panel : board_.panels()) canvas.fill(panel, theme::kPanel, theme::kRadius);
}

std::vector<Rect> View::draw(Canvas& canvas) {
  std::vector<Rect> changed;
  if (everything_) {
    changed.push_back(window_);
    drawn_.clear();
  }
  for (Widget* widget : board_.shown()) {
    const std::uint64_t look = look_of(*widget);
    const auto drawn = drawn_.find(widget);
    if (drawn != drawn_.end() && drawn->second == look) continue;
    drawn_[widget] = look;
    if (!everything_) changed.push_back(widget->bounds);
    canvas.block(widget->bounds, widget->ground);
    canvas.clip(widget->bounds);
    widget->draw(canvas);
    canvas.no_clip();
  }
  everything_ = false;
  return changed;
}

void View::draw_over(Canvas& canvas) {
  overlay_changed_ = false;
  if (!menu_.empty()) {
    float width = 0;
    for (const MenuItem& item : menu_) width = std::max(width, canvas.width(item.label, theme::kBody));
    overlay_ = std::make_unique<Menu>(menu_anchor_, std::move(menu_), window_, width + 6 * theme::kGrid);
    menu_.clear();
  }
  if (overlay_) overlay_->draw(canvas);
}

Widget* View::at(Point p) const {
  for (auto widget = board_.shown().rbegin(); widget != board_.shown().rend(); ++widget)
    if ((*widget)->takes(p)) return *widget;
  return nullptr;
}

void View::hover(Point p) {
  Widget* now = at(p);
  if (hovered_) hovered_->hovered = false;
  hovered_ = now;
  if (now) now->hovered = true;
  board_.footer().help = now ? now->hint(p) : "";
}

void View::settle(const Overlay::Outcome& outcome) {
  overlay_changed_ = true;
  if (outcome.over) overlay_.reset();
  if (outcome.then) outcome.then();
}

void View::press(const Pointer& pointer, bool right, double now_s) {
  last_ = pointer.at;
  if (overlay_) {
    const bool inside = overlay_->bounds().contains(pointer.at);
    settle(overlay_->press(pointer.at));
    if (inside) return;
  }
  Widget* widget = at(pointer.at);
  if (!widget) return;
  if (right) {
    const int parameter = widget->parameter_at(pointer.at);
    if (parameter >= 0) open_context_menu(parameter, pointer.at);
    return;
  }
  const bool again = widget == clicked_ && now_s - clicked_s_ < kDoubleClick_s &&
                     std::hypot(pointer.at.x - clicked_at_.x, pointer.at.y - clicked_at_.y) < kDoubleClick;
  clicked_ = widget, clicked_at_ = pointer.at, clicked_s_ = again ? -1 : now_s;
  widget->pressed = true;
  grabbed_ = widget;
  if (again)
    widget->double_click(pointer);
  else
    widget->press(pointer);
}

void View::move(const Pointer& pointer) {
  Pointer moved = pointer;
  moved.moved = {pointer.at.x - last_.x, pointer.at.y - last_.y};
  last_ = pointer.at;
  if (overlay_) {
    overlay_changed_ |= overlay_->hover(pointer.at);
  } else if (grabbed_) {
    grabbed_->drag(moved);
  } else {
    hover(pointer.at);
  }
}

void View::release(const Pointer& pointer) {
  if (!grabbed_) return;
  grabbed_->pressed = false;
  grabbed_->release(pointer);
  grabbed_ = nullptr;
  if (!overlay_) hover(pointer.at);
}

void View::wheel(const Pointer& pointer, float lines) {
  if (overlay_) {
    overlay_->wheel(lines);
    overlay_changed_ = true;
  } else if (Widget* widget = at(pointer.at)) {
    widget->wheel(pointer, lines);
  }
}

bool View::key(unsigned key) {
  if (overlay_) {
    settle(overlay_->key(key));
    return true;
  }
  if (key == dgl::kKeyEscape && scene_.learning >= 0) {
    actions_.learn(-1);
    return true;
  }
  return false;
}

void View::open_menu(const Rect& anchor, std::vector<MenuItem> items) {
  menu_anchor_ = anchor;
  menu_ = std::move(items);
  overlay_changed_ = true;
}

void View::type_value(const Rect& anchor, int parameter) {
  overlay_ = std::make_unique<Entry>(anchor, parameter, actions_, window_);
  overlay_changed_ = true;
}

void View::open_context_menu(int parameter, Point p) {
  std::vector<MenuItem> items{{about(parameter).name, nullptr}};
  const int controller = actions_.controller_of(parameter);
  items.push_back({"Learn a MIDI controller", [this, parameter] { actions_.learn(parameter); }});
  if (controller >= 0)
    items.push_back(
        {"Forget controller " + std::to_string(controller), [this, parameter] { actions_.forget(parameter); }});
  items.push_back({"Reset to " + text(parameter, about(parameter).initial),
                   [this, parameter] { actions_.set(parameter, about(parameter).initial); }});
  if (about(parameter).kind == Kind::number)
    items.push_back({"Type a value…", [this, parameter, p] { type_value({p.x, p.y, 0, 0}, parameter); }});
  open_menu({p.x, p.y, 0, 0}, std::move(items));
}

}  // namespace ravel::plugin::ui
