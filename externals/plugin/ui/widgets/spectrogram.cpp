// See spectrogram.h.
#include "spectrogram.h"

#include <array>

namespace ravel::plugin::ui {

namespace {

constexpr float kFall_db = 0.75F, kHeldFall_db = 0.25F;  // of the level, a column

// From the well over the accent to the text: quiet is dark, loud is bright.
std::array<Colour, 256> shades(Colour accent) {
  std::array<Colour, 256> all;
  const Colour stops[] = {theme::kWell, theme::kWell.towards(accent, 0.3F), accent, theme::kText};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const float at = static_cast<float>(i) / 255 * 3;
    const auto from = std::min<std::size_t>(2, static_cast<std::size_t>(at));
    all[i] = stops[from].towards(stops[from + 1], at - static_cast<float>(from));
  }
  return all;
}

}  // namespace

Spectrogram::Spectrogram(Context context, Side side)
    : Widget(context, side == Side::input ? "input" : "output"),
      side_(side),
      pixels_(std::size_t{kColumns} * Spectrum::kRows * 4) {
  for (std::size_t i = 0; i < pixels_.size(); i += 4) {
    pixels_[i] = theme::kWell.r, pixels_[i + 1] = theme::kWell.g, pixels_[i + 2] = theme::kWell.b;
    pixels_[i + 3] = 255;
  }
}

void Spectrogram::listen() {
  const Feed* feed = scene().feed;
  if (!feed) return;
  const auto& ring = side_ == Side::input ? feed->input : feed->output;
  while (spectrum_.next(ring, feed->sample_rate_hz.load(std::memory_order_relaxed))) push(spectrum_);
}

void Spectrogram::push(const Spectrum& spectrum) {
  silent_columns_ = spectrum.silent() ? std::min(kColumns, silent_columns_ + 1) : 0;
  const float peak_db = 20 * std::log10(spectrum.peak() + 1e-9F);
  level_db_ = std::max({peak_db, level_db_ - kFall_db, Spectrum::kFloor_db});
  held_db_ = std::max(level_db_, held_db_ - kHeldFall_db);
  if (silent_columns_ == kColumns) return;

  static const std::array<Colour, 256> neutral = shades(theme::kDim), sound = shades(theme::kSound);
  const auto& palette = side_ == Side::input ? neutral : sound;
  const auto x = static_cast<std::size_t>(columns_ % kColumns);
  for (std::size_t row = 0; row < Spectrum::kRows; ++row) {
    const Colour colour = palette[static_cast<std::size_t>(spectrum.column()[row] * 255)];
    std::uint8_t* pixel = &pixels_[((Spectrum::kRows - 1 - row) * kColumns + x) * 4];
    pixel[0] = colour.r, pixel[1] = colour.g, pixel[2] = colour.b;
  }
  ++columns_;
}

void Spectrogram::look(Look& look) const {
  look << columns_ << (silent_columns_ == kColumns) << hovered;
  look.position(level_db_).position(held_db_);
}

void Spectrogram::upload() {
  if (!picture_.created()) {
    picture_.create(kColumns, Spectrum::kRows, pixels_.data(), Picture::Edge::repeat);
    uploaded_ = columns_;
  }
  std::uint64_t column = std::max(uploaded_, columns_ - std::min<std::uint64_t>(columns_, kColumns));
  while (column < columns_) {
    const auto x = static_cast<int>(column % kColumns);
    const int count = std::min(kColumns - x, static_cast<int>(columns_ - column));
    picture_.update(x, count, pixels_.data());
    column += static_cast<std::uint64_t>(count);
  }
  uploaded_ = columns_;
}

void Spectrogram::draw(Canvas& canvas) {
  upload();
  Rect rest = bounds;
  const Rect level = rest.cut_right(theme::kGrid, theme::kGrid);
  // The newest column at the right edge; the seam of the ring, where it would blend with the oldest, stays outside.
  const float first = static_cast<float>(columns_ % kColumns + 1) / kColumns;
  picture_.draw(canvas.pixels(rest), first, first + (kColumns - 2.0F) / kColumns);
  for (float hz : {100.0F, 1000.0F, 10000.0F}) {
    const float share = std::log2(hz / Spectrum::kLowest_hz) / std::log2(Spectrum::kHighest_hz / Spectrum::kLowest_hz);
    const float y = rest.bottom() - std::round(share * rest.h);
    canvas.fill({rest.x, y, rest.w, theme::kHairline}, theme::kText.faded(0.08F));
    if (hovered)
      canvas.text(hz < 1000    ? "100 Hz"
                  : hz < 10000 ? "1 kHz"
                               : "10 kHz",
                  {rest.x + theme::kGrid, y - 2 * theme::kGrid, 8 * theme::kGrid, 2 * theme::kGrid}, theme::kCaption,
                  theme::kText.faded(0.7F));
  }
  draw_level(canvas, level);
}

void Spectrogram::draw_level(Canvas& canvas, const Rect& rect) const {
  const auto height = [&](float db) { return std::clamp(1 - db / Spectrum::kFloor_db, 0.0F, 1.0F) * rect.h; };
  const auto colour = [this](float db, Colour calm) { return db >= 0 ? theme::kHand : calm; };
  canvas.block(rect, theme::kWell);
  const float level = height(level_db_);
  if (level > 0)
    canvas.block({rect.x, rect.bottom() - level, rect.w, level},
                 colour(level_db_, side_ == Side::input ? theme::kDim : theme::kSound));
  if (held_db_ > Spectrum::kFloor_db)
    canvas.block({rect.x, rect.bottom() - height(held_db_), rect.w, theme::kStroke}, colour(held_db_, theme::kText));
}

std::string Spectrogram::hint(Point) const {
  return side_ == Side::input ? "What comes in: six seconds of its spectrum, 40 Hz to 18 kHz, and its peak level"
                              : "What goes out: six seconds of its spectrum, 40 Hz to 18 kHz, and its peak level";
}

}  // namespace ravel::plugin::ui
