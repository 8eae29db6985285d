// Everything on the board, and where it lies: rows and columns on the grid for any size of the window.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "widgets/button.h"
#include "widgets/card.h"
#include "widgets/keyboard.h"
#include "widgets/knob.h"
#include "widgets/label.h"
#include "widgets/latents.h"
#include "widgets/spectrogram.h"

namespace ravel::plugin::ui {

class Board {
 public:
  static constexpr float kOpenWidth = 138 * theme::kGrid, kOpenHeight = 84 * theme::kGrid;  // as it opens
  static constexpr float kLeastWidth = 132 * theme::kGrid, kLeastHeight = 74 * theme::kGrid;
  static constexpr float kKeys = 11 * theme::kGrid;  // more height, of the instrument

  explicit Board(const Context& context);

  void lay_out(const Rect& window);
  bool follow_model();  // its latents, labels and prior; true: other widgets are shown
  const std::vector<Rect>& panels() const { return panels_; }
  const std::vector<Widget*>& shown() const { return shown_; }  // lowest first
  Spectrogram& input() { return *input_; }
  Spectrogram& output() { return *output_; }
  Footer& footer() { return *footer_; }

 private:
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments);
  template <class T>
  void put(T* widget, const Rect& at, Colour ground = theme::kPanel);
  Rect panel(const Rect& at);

  void make_header();
  void make_latents();
  void make_voices();
  void make_controls();
  void lay_out_header(Rect row);
  void lay_out_displays(Rect row);
  void lay_out_latents(Rect row, float pad_width);
  void lay_out_voices(Rect row);
  void lay_out_bars(Rect area);
  void lay_out_controls(Rect row);
  void open_models(const Rect& anchor);
  void open_labels(const Rect& anchor);
  void open_presets(const Rect& anchor);
  void step_model(int by);
  int labels() const;  // that have bars
  bool alone(int label) const;
  void play_alone(int label);

  Context context_;
  std::vector<std::unique_ptr<Widget>> all_;
  std::vector<Widget*> shown_;
  std::vector<Rect> panels_;

  Brand* brand_;
  Button *previous_, *model_, *next_, *open_, *presets_;
  std::array<Button*, 2> compare_, store_, recall_;
  Readout *load_, *latency_;
  Card* card_;
  Label *input_label_, *output_label_, *pad_label_, *bars_label_;
  Spectrogram *input_, *output_;
  Pad* pad_;
  std::vector<LatentTrack*> tracks_;
  std::vector<LatentValues*> values_;
  Button* label_;
  std::vector<Bar*> weights_, prior_;  // of the labels; how far, how freely
  Toggle* morphing_;
  Slider* morph_;
  std::vector<Knob*> sound_knobs_, latent_knobs_, note_knobs_;
  std::vector<Toggle*> toggles_;
  std::vector<Choice*> choices_;
  Choice* notes_;
  Keyboard* keyboard_;
  Footer* footer_;
  struct Extent {  // of what the model has
    int latents = -1, labels = 0;
    bool prior = false;
    bool operator==(const Extent&) const = default;
  };
  Extent extent_;
  Rect model_area_;
};

}  // namespace ravel::plugin::ui
