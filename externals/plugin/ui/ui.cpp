// The interface as DPF's UI class: its window's events to the view, its parameters and files to the host.
#include "DistrhoUI.hpp"

#include <chrono>

#include "../dpf/plugin.h"
#include "picture.h"
#include "session.h"
#include "trace.h"

START_NAMESPACE_DISTRHO

namespace ui = ravel::plugin::ui;

class RavelUi : public UI, private ui::Host {
 public:
  RavelUi()
      : UI(static_cast<uint>(ui::Board::kOpenWidth), static_cast<uint>(kHeight)),
        session_(ravel::plugin::shell_of(getPluginInstancePointer()), *this, kForm, DISTRHO_PLUGIN_NAME),
        view_(session_.scene(), session_) {
    loadSharedResources();
    const double scale = getScaleFactor();
    const auto scaled = [scale](float size) { return static_cast<uint>(size * scale + 0.5); };
    setGeometryConstraints(scaled(ui::Board::kLeastWidth),
                           scaled(kHeight - ui::Board::kOpenHeight + ui::Board::kLeastHeight));
    if (scale != 1) setSize(scaled(ui::Board::kOpenWidth), scaled(kHeight));
    session_.refresh(now_s(), getSampleRate());
    lay_out();
  }

 protected:
  void parameterChanged(uint32_t index, float value) override { session_.hear(static_cast<int>(index), value); }
  void stateChanged(const char*, const char*) override {}

  void uiIdle() override {
    const double now = now_s();
    if (now < due_s_) return;
    due_s_ = now + kFrame_s;
    session_.refresh(now, getSampleRate());
    if (now < settled_s_) view_.redraw();
    if (!view_.changed()) return;
    if (view_.wants_ground()) ui::trace::layout(view_, scale_);
    repaint();
  }

  void onNanoDisplay() override {}
  void onDisplay() override {
    const double began_s = now_s();
    if (layer_.resize(static_cast<int>(getWidth()), static_cast<int>(getHeight()))) view_.redraw();
    if (view_.wants_ground())
      frame([this](ui::Canvas& canvas) { view_.draw_ground(canvas); });
    else
      layer_.put();
    std::vector<ui::Rect> changed;
    frame([&](ui::Canvas& canvas) { changed = view_.draw(canvas); });
    for (const ui::Rect& at : changed)
      layer_.copy_from_window({at.x * scale_, at.y * scale_, at.w * scale_, at.h * scale_});
    frame([this](ui::Canvas& canvas) { view_.draw_over(canvas); });
    glFinish();
    const double took_s = now_s() - began_s;
    if (!held_) due_s_ = std::max(due_s_, began_s + std::min(took_s / kShare, kSlowFrame_s));
    ui::trace::event("drawn", static_cast<int>(changed.size()));
  }

  void onResize(const ResizeEvent& event) override {
    UI::onResize(event);
    lay_out();
  }
  void uiReshape(uint width, uint height) override {
    UI::uiReshape(width, height);
    settled_s_ = now_s() + kSettling_s;
  }
  void uiScaleFactorChanged(double) override { lay_out(); }

  bool onMouse(const MouseEvent& event) override {
    const ui::Pointer pointer = pointer_of(event.pos, event.mod);
    held_ = event.press;
    if (!event.press)
      view_.release(pointer);
    else if (event.button == kMouseButtonLeft || event.button == kMouseButtonRight)
      view_.press(pointer, event.button == kMouseButtonRight, now_s());
    return true;
  }
  bool onMotion(const MotionEvent& event) override {
    view_.move(pointer_of(event.pos, event.mod));
    return true;
  }
  bool onScroll(const ScrollEvent& event) override {
    view_.wheel(pointer_of(event.pos, event.mod), static_cast<float>(event.delta.getY()));
    return true;
  }
  bool onKeyboard(const KeyboardEvent& event) override { return event.press && view_.key(event.key); }

  void uiFileBrowserSelected(const char* path) override {
    if (path) session_.use_file(requested_, path);
  }

 private:
  static constexpr double kFrame_s = 0.020;  // of a host that calls at 60 Hz, every second call
  // Where drawing is slow, as in software, it may take this share of a core while no hand waits for it.
  static constexpr double kShare = 0.25, kSlowFrame_s = 1.0 / 15;
  static constexpr double kSettling_s = 0.3;  // a window system may give a new size some frames late
  static constexpr auto kForm = DISTRHO_PLUGIN_IS_SYNTH ? ravel::plugin::Form::instrument : ravel::plugin::Form::effect;
  static constexpr float kHeight = ui::Board::kOpenHeight + (DISTRHO_PLUGIN_IS_SYNTH ? ui::Board::kKeys : 0);

  static double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  template <class Draw>
  void frame(Draw&& draw) {
    NanoVG& vg = *this;
    ui::Canvas canvas(vg, scale_, static_cast<float>(getHeight()));
    vg.beginFrame(getWidth(), getHeight());
    vg.scale(scale_, scale_);
    draw(canvas);
    vg.endFrame();
  }

  void lay_out() {
    scale_ = static_cast<float>(getScaleFactor());
    view_.resize(static_cast<float>(getWidth()) / scale_, static_cast<float>(getHeight()) / scale_);
    ui::trace::layout(view_, scale_);
  }

  ui::Pointer pointer_of(const DGL_NAMESPACE::Point<double>& at, uint modifiers) const {
    return {.at = {static_cast<float>(at.getX()) / scale_, static_cast<float>(at.getY()) / scale_},
            .moved = {},
            .fine = (modifiers & kModifierShift) != 0,
            .control = (modifiers & (kModifierControl | kModifierSuper)) != 0,
            .alt = (modifiers & kModifierAlt) != 0};
  }

  void edit_parameter(int parameter, bool started) override {
    editParameter(static_cast<uint32_t>(parameter), started);
  }
  void set_parameter(int parameter, float value) override {
    setParameterValue(static_cast<uint32_t>(parameter), value);
  }
  void send_note(int key, int velocity) override {
    sendNote(0, static_cast<uint8_t>(key), static_cast<uint8_t>(velocity));
    ui::trace::event("note", velocity > 0 ? key : -key);
  }
  void request_model_file() override { requestStateFile("model"); }
  void request_file(File what) override {
    requested_ = what;
    FileBrowserOptions options;
    options.saving = what == File::save_preset;
    options.defaultName = "preset.json";
    options.title = options.saving ? "Save a preset" : "Load a preset";
    openFileBrowser(options);
  }

  ui::Session session_;
  ui::View view_;
  ui::Layer layer_;
  float scale_ = 1;
  double due_s_ = 0, settled_s_ = 0;
  bool held_ = false;  // a button of the pointer
  File requested_ = File::load_preset;
};

UI* createUI() { return new RavelUi; }

END_NAMESPACE_DISTRHO
