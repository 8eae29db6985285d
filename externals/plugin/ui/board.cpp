// See board.h.
#include "board.h"

#include "taper.h"

namespace ravel::plugin::ui {

namespace {

constexpr float g = theme::kGrid;
constexpr float kHeader = 7 * g, kFooter = 4 * g, kControls = 14 * g, kKnob = 8 * g, kWideKnob = 9.5F * g;

std::string percent(float share) {
  char words[16];
  std::snprintf(words, sizeof words, share < 0.0995F ? "%.1f %%" : "%.0f %%", 100.0 * static_cast<double>(share));
  return words;
}

}  // namespace

template <class T, class... Arguments>
T* Board::make(Arguments&&... arguments) {
  auto widget = std::make_unique<T>(context_, std::forward<Arguments>(arguments)...);
  T* made = widget.get();
  all_.push_back(std::move(widget));
  return made;
}

template <class T>
void Board::put(T* widget, const Rect& at, Colour ground) {
  widget->bounds = at;
  widget->ground = ground;
  shown_.push_back(widget);
}

Rect Board::panel(const Rect& at) {
  panels_.push_back(at);
  return at.inset(theme::kPadding);
}

Board::Board(const Context& context) : context_(context) {
  make_header();
  card_ = make<Card>();
  input_ = make<Spectrogram>(Spectrogram::Side::input);
  output_ = make<Spectrogram>(Spectrogram::Side::output);
  input_label_ = make<Label>("input_label", [] { return std::string("Input"); });
  output_label_ = make<Label>("output_label", [] { return std::string("Output"); });
  make_latents();
  make_voices();
  make_controls();
  keyboard_ = make<Keyboard>();
  footer_ = make<Footer>();
}

void Board::make_header() {
  const Scene& scene = context_.scene;
  Actions& actions = context_.actions;
  brand_ = make<Brand>();
  previous_ = make<Button>("previous_model", "", "The model before this one in its folder", [this] { step_model(-1); });
  previous_->face = Button::Face::previous;
  next_ = make<Button>("next_model", "", "The model after this one in its folder", [this] { step_model(1); });
  next_->face = Button::Face::next;
  model_ = make<Button>("model", "", "The models of the folder", [this] { open_models(model_->bounds); });
  model_->face = Button::Face::menu;
  model_->words = [&scene] {
    if (scene.status.loading) return std::string("Loading…");
    return scene.status.name.empty() ? std::string("No model") : scene.status.name;
  };
  open_ = make<Button>("open", "Open…", "Choose a .ravel file", [&actions] { actions.browse_models(); });
  presets_ = make<Button>("presets", "Presets", "Load and save presets: every setting, and which model plays",
                          [this] { open_presets(presets_->bounds); });
  presets_->face = Button::Face::menu;
  for (int slot : {0, 1}) {
    auto* button = make<Button>(slot == 0 ? "compare_a" : "compare_b", slot == 0 ? "A" : "B",
                                "Two settings to compare: each keeps every parameter while the other one plays",
                                [&actions, slot] { actions.compare(slot); });
    button->lit = [&scene, slot] { return scene.compared == slot; };
    compare_[static_cast<std::size_t>(slot)] = button;
  }
  load_ = make<Readout>(
      "load", "CPU", "Share of the time that each block may take", [&scene] { return percent(scene.load); },
      [&scene] { return scene.load > 0.8F; });
  latency_ = make<Readout>("latency", "Latency", "From input to output, as the host was told",
                           [&scene] { return milliseconds(scene.status.latency_samples, scene.host_rate_hz); });
}

void Board::make_latents() {
  const Scene& scene = context_.scene;
  Actions& actions = context_.actions;
  pad_ = make<Pad>();
  pad_label_ = make<Label>("pad_label", [] { return std::string("Latents 1 and 2"); });
  bars_label_ = make<Label>("bars_label", [&scene] {
    const int count = scene.status.latents;
    if (count <= kLatents) return std::string("Latents");
    return "Latents  ·  the strongest " + std::to_string(kLatents) + " of " + std::to_string(count);
  });
  for (int latent = 0; latent < kLatents; ++latent) {
    tracks_.push_back(make<LatentTrack>(latent));
    values_.push_back(make<LatentValues>(latent));
  }
  morphing_ = make<Toggle>(static_cast<int>(kMorphing));
  morph_ = make<Slider>(static_cast<int>(kMorph));
  for (int slot : {0, 1}) {
    const std::string letter = slot == 0 ? "A" : "B", suffix = slot == 0 ? "_a" : "_b";
    const auto at = static_cast<std::size_t>(slot);
    store_[at] = make<Button>("store" + suffix, "Store", "Keep the latents that play now as snapshot " + letter,
                              [&actions, slot] { actions.store_snapshot(slot); });
    recall_[at] = make<Button>("recall" + suffix, letter, "Freeze at snapshot " + letter,
                               [&actions, slot] { actions.recall_snapshot(slot); });
  }
}

void Board::make_voices() {
  const Scene& scene = context_.scene;
  label_ = make<Button>("labels", "", "Which of the model's instruments plays; the bars beside it blend them",
                        [this] { open_labels(label_->bounds); });
  label_->face = Button::Face::menu;
  label_->words = [this, &scene] {
    for (int label = 0; label < labels(); ++label)
      if (alone(label)) return scene.status.labels[static_cast<std::size_t>(label)];
    return std::string("a blend");
  };
  for (int label = 0; label < kLabels; ++label)
    weights_.push_back(make<Bar>(kFirstLabel + label, [&scene, label] {
      const auto at = static_cast<std::size_t>(label);
      return at < scene.status.labels.size() ? scene.status.labels[at] : std::string();
    }));
  for (const int which : {+kPrior, +kPriorTemperature})
    prior_.push_back(make<Bar>(which, [which] { return about(which).name; }));
}

void Board::make_controls() {
  const bool effect = context_.scene.form == Form::effect;
  const auto knobs = [this](std::initializer_list<Id> ids) {
    std::vector<Knob*> made;
    for (Id which : ids) made.push_back(make<Knob>(static_cast<int>(which)));
    return made;
  };
  if (effect)
    sound_knobs_ = knobs({kInputGain, kOutputGain, kDryWet, kWidth});
  else
    sound_knobs_ = knobs({kOutputGain, kWidth});
  latent_knobs_ = knobs({kTemperature, kLatentNoise, kFill});
  note_knobs_ = knobs({kAttack, kRelease});
  notes_ = effect ? make<Choice>(static_cast<int>(kNotes)) : nullptr;
  for (Id which : {kFreeze, kNoise, kBypass}) toggles_.push_back(make<Toggle>(static_cast<int>(which)));
  for (Id which : {kMode, kStereo}) choices_.push_back(make<Choice>(static_cast<int>(which)));
}

void Board::step_model(int by) {
  const int count = static_cast<int>(context_.scene.models.size());
  if (count == 0) return context_.actions.browse_models();
  const int next = (std::max(0, context_.scene.model) + by + count) % count;
  context_.actions.set(kModel, static_cast<float>(next));
}

void Board::open_models(const Rect& anchor) {
  const Scene& scene = context_.scene;
  std::vector<MenuItem> items;
  for (int i = 0; i < static_cast<int>(scene.models.size()); ++i)
    items.push_back({scene.models[static_cast<std::size_t>(i)],
                     [this, i] { context_.actions.set(kModel, static_cast<float>(i)); }, scene.model == i});
  items.push_back({"Open another…", [this] { context_.actions.browse_models(); }});
  const bool embedded = scene.status.embedded;
  if (!scene.status.path.empty())
    items.push_back(
        {"Keep the model in the project", [this, embedded] { context_.actions.embed(!embedded); }, embedded});
  context_.overlays.open_menu(anchor, std::move(items));
}

int Board::labels() const { return std::min(static_cast<int>(context_.scene.status.labels.size()), kLabels); }

bool Board::alone(int label) const {
  for (int i = 0; i < labels(); ++i)
    if ((context_.scene.values[static_cast<std::size_t>(kFirstLabel + i)] > 0) != (i == label)) return false;
  return true;
}

void Board::play_alone(int label) {
  for (int i = 0; i < kLabels; ++i) context_.actions.set(kFirstLabel + i, i == label ? 100.0F : 0.0F);
}

void Board::open_labels(const Rect& anchor) {
  std::vector<MenuItem> items;
  for (int label = 0; label < labels(); ++label)
    items.push_back({context_.scene.status.labels[static_cast<std::size_t>(label)],
                     [this, label] { play_alone(label); }, alone(label)});
  context_.overlays.open_menu(anchor, std::move(items));
}

void Board::open_presets(const Rect& anchor) {
  std::vector<MenuItem> items{{"Load a preset…", [this] { context_.actions.browse_presets(); }},
                              {"Save a preset…", [this] { context_.actions.save_preset(); }}};
  const auto& factory = context_.scene.presets;
  if (!factory.empty()) items.push_back({"Factory", nullptr});
  for (int i = 0; i < static_cast<int>(factory.size()); ++i)
    items.push_back({factory[static_cast<std::size_t>(i)], [this, i] { context_.actions.load_factory_preset(i); }});
  context_.overlays.open_menu(anchor, std::move(items));
}

void Board::lay_out(const Rect& window) {
  panels_.clear();
  shown_.clear();
  Rect rest = window.inset(theme::kMargin, 0);
  lay_out_header(rest.cut_top(kHeader));
  put(footer_, rest.cut_bottom(kFooter), theme::kWindow);
  if (context_.scene.form == Form::instrument) {
    const Rect keys = rest.cut_bottom(kKeys - theme::kGap, theme::kGap);
    put(keyboard_, keys, theme::kWindow);
  }
  lay_out_controls(rest.cut_bottom(kControls, theme::kGap));
  const float upper = std::floor(rest.h * 0.35F / g) * g;
  Rect displays = rest.cut_top(upper, theme::kGap);
  // The pad is square: its panel is as wide as the row is high, less the caption.
  const float pad_width = std::clamp(std::floor((rest.h - 2 * g) / g) * g, 31 * g, rest.w / 3);
  put(card_, panel(displays.cut_left(pad_width, theme::kGap)));
  lay_out_displays(displays);
  lay_out_latents(rest, pad_width);
}

void Board::lay_out_header(Rect row) {
  row = row.middle(row.w, 4 * g);
  const Colour ground = theme::kWindow;
  put(latency_, row.cut_right(9 * g, g), ground);
  put(load_, row.cut_right(7 * g, 2 * g), ground);
  put(brand_, row.cut_left(context_.scene.form == Form::effect ? 15 * g : 24 * g, 2 * g), ground);
  row = row.middle(row.w, 3.5F * g);
  put(previous_, row.cut_left(3 * g, g / 2), ground);
  const float right = 9 * g + 13 * g + 2 * 3.5F * g + 4 * g;  // what follows the name, and the gaps
  put(model_, row.cut_left(std::min(40 * g, row.w - 3.5F * g - right), g / 2), ground);
  put(next_, row.cut_left(3 * g, g), ground);
  put(open_, row.cut_left(9 * g, 2 * g), ground);
  put(presets_, row.cut_left(12 * g, g), ground);
  for (Button* button : compare_) put(button, row.cut_left(3.5F * g, g / 2), ground);
}

void Board::lay_out_displays(Rect row) {
  const auto display = [this](Label* label, Spectrogram* picture, const Rect& at) {
    Rect inside = panel(at);
    put(label, inside.cut_top(2 * g, g / 2));
    put(picture, inside);
  };
  if (context_.scene.form == Form::effect)
    display(input_label_, input_, row.cut_left((row.w - theme::kGap) / 2, theme::kGap));
  display(output_label_, output_, row);
}

void Board::lay_out_latents(Rect row, float pad_width) {
  Rect left = panel(row.cut_left(pad_width, theme::kGap));
  put(pad_label_, left.cut_top(2 * g, g / 2));
  put(pad_, left);

  Rect inside = panel(row);
  put(bars_label_, inside.cut_top(2 * g, g / 2));
  Rect strip = inside.cut_bottom(3 * g, 1.5F * g);
  put(morphing_, strip.cut_left(13 * g, g));
  put(store_[0], strip.cut_left(7 * g, g / 2));
  put(recall_[0], strip.cut_left(4 * g, g));
  put(store_[1], strip.cut_right(7 * g, g / 2));
  put(recall_[1], strip.cut_right(4 * g, g));
  put(morph_, strip);
  model_area_ = inside;
  extent_ = {};
  follow_model();
}

bool Board::follow_model() {
  const Status& model = context_.scene.status;
  const Extent now{model.latents > 0 ? std::min(model.latents, kLatents) : kLatents, labels(), model.prior};
  if (now == extent_) return false;
  extent_ = now;
  const auto among = [](const auto& widgets, const Widget* one) {
    return std::ranges::find(widgets, one) != widgets.end();
  };
  std::erase_if(shown_, [&](const Widget* one) {
    return among(tracks_, one) || among(values_, one) || among(weights_, one) || among(prior_, one) || one == label_;
  });
  Rect area = model_area_;
  if (now.labels > 0 || now.prior) lay_out_voices(area.cut_top(3 * g, g));
  lay_out_bars(area);
  return true;
}

// The labels from the left, the prior from the right; bars share what there is.
void Board::lay_out_voices(Rect row) {
  if (extent_.labels > 0) put(label_, row.cut_left(13 * g, g));
  const int labels = extent_.labels, prior = extent_.prior ? static_cast<int>(prior_.size()) : 0;
  const float width = std::min(row.w / static_cast<float>(labels + prior), 18 * g);
  for (int i = prior - 1; i >= 0; --i) put(prior_[static_cast<std::size_t>(i)], row.cut_right(width).inset(2, 0));
  for (int i = 0; i < labels; ++i) put(weights_[static_cast<std::size_t>(i)], row.cut_left(width).inset(2, 0));
}

void Board::lay_out_bars(Rect area) {
  const float width = std::min(area.w / static_cast<float>(extent_.latents), 10 * g);
  for (int i = 0; i < extent_.latents; ++i) {
    const auto at = static_cast<std::size_t>(i);
    Rect column = area.cut_left(width).inset(1, 0);
    put(values_[at], column.cut_bottom(LatentValues::kHeight));
    put(tracks_[at], column);
  }
}

// Four panels; every knob gets the same share of what the window is wider, or a little narrower, than they need.
void Board::lay_out_controls(Rect row) {
  const float toggles = 11 * g, choices = 17 * g, notes = notes_ ? 12 * g : 0, between = 2 * g;
  const auto count = [](const std::vector<Knob*>& knobs) { return static_cast<float>(knobs.size()); };
  const float knobs = count(sound_knobs_) + count(latent_knobs_) + count(note_knobs_);
  const float needed = (count(sound_knobs_) + count(note_knobs_)) * kKnob + count(latent_knobs_) * kWideKnob + notes +
                       toggles + between + choices + 8 * theme::kPadding + 3 * theme::kGap;
  const float more = std::max(-g / 2, std::floor((row.w - needed) / knobs));
  const auto group = [&](const std::vector<Knob*>& members, float wide, float beside) {
    const float width = count(members) * (wide + more) + beside + 2 * theme::kPadding;
    Rect inside = panel(row.cut_left(width, theme::kGap));
    for (Knob* knob : members) put(knob, inside.cut_left(wide + more).inset(1, 0));
    return inside;
  };
  group(sound_knobs_, kKnob, 0);
  group(latent_knobs_, kWideKnob, 0);
  Rect beside = group(note_knobs_, kKnob, notes);
  if (notes_) put(notes_, beside.inset(g / 2, 0).cut_top(5 * g));

  Rect inside = panel(row);
  Rect column = inside.cut_left(toggles, between);
  const float third = column.h / static_cast<float>(toggles_.size());
  for (Toggle* toggle : toggles_) put(toggle, column.cut_top(third));
  put(choices_[0], inside.cut_top(5 * g, inside.h - 10 * g));
  put(choices_[1], inside.cut_top(5 * g));
}

}  // namespace ravel::plugin::ui
