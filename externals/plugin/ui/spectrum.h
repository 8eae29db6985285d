// Short-time spectra of a signal on a logarithmic frequency axis, a column at a time.
#pragma once

#include <complex>
#include <cstdint>
#include <span>
#include <vector>

#include "../feed.h"

namespace ravel::plugin::ui {

class Spectrum {
 public:
  static constexpr int kRows = 96;
  static constexpr float kColumns_hz = 40, kLowest_hz = 40, kHighest_hz = 18000, kFloor_db = -84;

  Spectrum();

  // Reads what is new; true while there is a next column of kRows values, 0 (floor) .. 1 (full scale), lowest first.
  bool next(const Ring<Feed::kSamples>& ring, float sample_rate_hz);
  std::span<const float> column() const { return column_; }
  bool silent() const { return silent_; }  // all of the column is at the floor
  float peak() const { return peak_; }     // of the column's hop, linear

 private:
  static constexpr std::size_t kSize = 2048;
  void transform();
  void fold(float sample_rate_hz);

  std::vector<float> window_, column_;
  std::vector<std::complex<float>> bins_, turns_;
  std::uint64_t read_ = 0;
  bool silent_ = true;
  float peak_ = 0;
};

}  // namespace ravel::plugin::ui
