// Streaming sample rate conversion of several channels by libsamplerate: linear phase, exact to a fraction of a sample.
#pragma once

#include <memory>
#include <vector>

#include "player/fifo.h"

struct SRC_STATE_tag;

namespace ravel::player {

// fast: 97 dB, flat to 80 % of the band; fine: 121 dB, to 90 %, for 2.4 times the look-ahead and cost.
enum class Quality { fast, fine };

class Resampler {
 public:
  Resampler(int channels, double ratio, Quality quality);  // ratio: output rate over input rate

  // Output j stands for input time j / ratio; it comes once input floor(j / ratio) + look_ahead() is there.
  int look_ahead() const noexcept { return look_ahead_; }
  // Zeros that `prime` needs to read.
  int least_zeros() const noexcept { return least_zeros_; }

  // Back to silence, with output 0 at input time 0.
  void reset() noexcept;
  // The same after `zeros` samples of silence, with output 0 at input time `first` (0.25 to 1.25) of this silence.
  void prime(double first, int zeros, Fifo& out) noexcept;
  // Reads n values a channel; what becomes ready goes to the end of `out`.
  void process(const float* const* in, int n, Fifo& out) noexcept;

 private:
  struct Delete {
    void operator()(SRC_STATE_tag* state) const noexcept;
  };
  int zeros_until_first(double ratio) noexcept;
  template <class Source>
  void run(Fifo& out, int n, Source source) noexcept;

  double ratio_;
  std::vector<std::unique_ptr<SRC_STATE_tag, Delete>> states_;
  int look_ahead_ = 0, least_zeros_ = 0;
};

}  // namespace ravel::player
