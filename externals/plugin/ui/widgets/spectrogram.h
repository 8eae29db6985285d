// The last six seconds of a signal: spectra that scroll, and a level. Still while there is only silence.
#pragma once

#include <vector>

#include "../picture.h"
#include "../spectrum.h"
#include "../widget.h"

namespace ravel::plugin::ui {

class Spectrogram : public Widget {
 public:
  enum class Side { input, output };
  Spectrogram(Context context, Side side);

  void listen();  // reads the feed: before `look`

  void look(Look& look) const override;
  void draw(Canvas& canvas) override;
  std::string hint(Point) const override;

 private:
  static constexpr int kColumns = 256;
  void push(const Spectrum& spectrum);
  void upload();
  void draw_level(Canvas& canvas, const Rect& rect) const;

  Side side_;
  Spectrum spectrum_;
  std::vector<std::uint8_t> pixels_;  // rows, top first, of a ring of columns
  std::uint64_t columns_ = 0, uploaded_ = 0;
  int silent_columns_ = kColumns;
  float level_db_ = Spectrum::kFloor_db, held_db_ = Spectrum::kFloor_db;
  Picture picture_;
};

}  // namespace ravel::plugin::ui
