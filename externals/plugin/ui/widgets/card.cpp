// See card.h.
#include "card.h"

namespace ravel::plugin::ui {

namespace {

std::string kilohertz(int rate_hz) {
  char words[16];
  std::snprintf(words, sizeof words, "%.4g kHz", rate_hz / 1000.0);
  return words;
}

// What not every model has.
std::string extras(const Status& model) {
  std::string words;
  const auto add = [&](const std::string& more) { words += (words.empty() ? "" : "  ·  ") + more; };
  if (model.quantisers > 0) {
    char rate[24];
    std::snprintf(rate, sizeof rate, "%.1f kbit/s", model.bits_per_second / 1000);
    add(std::to_string(model.quantisers) + " × " + std::to_string(model.codes) + " codes");
    add(rate);
  }
  if (!model.labels.empty()) add(std::to_string(model.labels.size()) + " labels");
  if (model.prior) add("prior");
  return words;
}

}  // namespace

std::string milliseconds(int samples, double rate_hz) {
  char words[16];
  const double ms = rate_hz > 0 ? 1000 * samples / rate_hz : 0;
  std::snprintf(words, sizeof words, ms < 99.95 ? "%.1f ms" : "%.0f ms", ms);
  return words;
}

void Card::look(Look& look) const {
  const Status& s = scene().status;
  look << s.name << s.preset << s.note << s.sample_rate_hz << s.channels << s.latents << s.loading << s.missing
       << s.embedded << s.latency_samples << s.fidelity_curve.size() << scene().host_rate_hz << extras(s);
  if (!s.fidelity_curve.empty()) look << s.fidelity_curve.front() << s.fidelity_curve.back();
}

void Card::draw(Canvas& canvas) {
  const Status& s = scene().status;
  Rect rest = bounds;
  if (s.preset.empty() || s.missing) {
    canvas.text(s.loading   ? "Loading…"
                : s.missing ? s.name
                            : "No model",
                rest.cut_top(3 * theme::kGrid), theme::kTitle, s.missing ? theme::kHand : theme::kText);
    canvas.paragraph(s.missing   ? "This project's model was not found. The sound passes dry, as late as with it."
                     : s.loading ? "The first sound comes as soon as it is read."
                                 : "Open a .ravel file to play it. `ravel train` and `ravel export` make one of "
                                   "your own recordings.",
                     rest, theme::kBody, theme::kDim);
    return;
  }
  canvas.text(s.loading ? "Loading…" : s.name, rest.cut_top(2.5F * theme::kGrid), theme::kTitle, theme::kText);
  const std::string what =
      s.preset + "  ·  " + kilohertz(s.sample_rate_hz) + "  ·  " + (s.channels == 1 ? "mono" : "stereo");
  canvas.text(what, rest.cut_top(2.25F * theme::kGrid), theme::kCaption, theme::kDim);
  canvas.text(std::to_string(s.latents) + " latents  ·  " + milliseconds(s.latency_samples, scene().host_rate_hz) +
                  (s.embedded ? "  ·  in the project" : ""),
              rest.cut_top(2.25F * theme::kGrid), theme::kCaption, theme::kDim);
  if (const std::string more = extras(s); !more.empty())
    canvas.text(more, rest.cut_top(2.25F * theme::kGrid), theme::kCaption, theme::kDim);
  if (!s.fidelity_curve.empty())
    draw_curve(canvas, rest.cut_bottom(std::min(4.5F * theme::kGrid, rest.h - 2), theme::kGrid / 2));
  canvas.paragraph(s.note, rest, theme::kCaption, theme::kFaint);
}

// How much of the sound's variety the strongest 1, 2, ... latents carry.
void Card::draw_curve(Canvas& canvas, const Rect& rect) const {
  const auto& curve = scene().status.fidelity_curve;
  const auto latents = std::min(static_cast<std::size_t>(std::max(1, scene().status.latents)), curve.size());
  // As far as it rises, and a little more.
  const auto risen = std::ranges::find_if(curve, [](float share) { return share > 0.99F; }) - curve.begin();
  const std::size_t shown = std::min(curve.size(), std::max<std::size_t>(static_cast<std::size_t>(risen) * 3 / 2, 8));
  canvas.block(rect, theme::kWell);
  const Rect in = rect.inset(theme::kGrid / 2, 0);
  std::vector<Point> points{{in.x, rect.bottom()}};
  for (std::size_t i = 0; i < shown; ++i)
    points.push_back({in.x + in.w * static_cast<float>(i + 1) / static_cast<float>(shown),
                      rect.bottom() - std::clamp(curve[i], 0.0F, 1.0F) * (rect.h - theme::kGrid / 2)});
  canvas.area(points, rect.bottom(), theme::kSound.faded(0.15F));
  canvas.lines(points, theme::kSound, 1.5F);
  canvas.circle(points[std::min(latents, shown)], 3, theme::kText);
  char words[40];
  std::snprintf(words, sizeof words, "fidelity %.0f %%", 100.0 * static_cast<double>(curve[latents - 1]));
  Rect caption = rect.inset(theme::kGrid / 2, theme::kGrid / 4);
  canvas.text(words, caption.cut_bottom(2 * theme::kGrid), theme::kCaption, theme::kDim, Align::right);
}

std::string Card::hint(Point) const {
  const Status& s = scene().status;
  if (s.path.empty()) return "The model that plays";
  return s.path + (s.note.empty() ? "" : "  ·  trained on " + s.note);
}

void Readout::draw(Canvas& canvas) {
  Rect rest = bounds;
  canvas.text(caption_, rest.cut_top(bounds.h / 2 - 1), theme::kCaption, theme::kFaint, Align::right);
  canvas.text(words_(), rest, theme::kBody, alarming_ && alarming_() ? theme::kHand : theme::kText, Align::right);
}

}  // namespace ravel::plugin::ui
