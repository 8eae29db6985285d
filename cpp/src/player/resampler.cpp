// One converter a channel: all read and give the same numbers of samples.
#include "player/resampler.h"

#include <samplerate.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ravel/error.h"

namespace ravel::player {

namespace {

// Returns how many values came out.
int convert(SRC_STATE* state, double ratio, const float* in, int n, float* out, int room) noexcept {
  SRC_DATA data{};
  data.data_in = in;
  data.input_frames = n;
  data.data_out = out;
  data.output_frames = room;
  data.src_ratio = ratio;
  src_process(state, &data);
  return static_cast<int>(data.output_frames_gen);
}

}  // namespace

void Resampler::Delete::operator()(SRC_STATE_tag* state) const noexcept { src_delete(state); }

Resampler::Resampler(int channels, double ratio, Quality quality) : ratio_(ratio) {
  for (int c = 0; c < channels; ++c) {
    int error = 0;
    states_.emplace_back(src_new(quality == Quality::fast ? SRC_SINC_FASTEST : SRC_SINC_MEDIUM_QUALITY, 1, &error));
    if (!states_.back()) throw Error(std::string("resampler: ") + src_strerror(error));
  }
  if (states_.empty()) return;
  look_ahead_ = zeros_until_first(ratio) - 1;
  least_zeros_ = zeros_until_first(1.0);  // of any ratio above 1
  reset();
}

// The converter's look-ahead is nowhere declared, so it is asked.
int Resampler::zeros_until_first(double ratio) noexcept {
  SRC_STATE* state = states_.front().get();
  src_reset(state);
  const float zero = 0;
  float value = 0;
  int count = 1;
  while (convert(state, ratio, &zero, 1, &value, 1) == 0) ++count;
  return count;
}

void Resampler::reset() noexcept {
  for (auto& state : states_) {
    src_reset(state.get());
    src_set_ratio(state.get(), ratio_);
  }
}

void Resampler::prime(double first, int zeros, Fifo& out) noexcept {
  const float zero = 0;
  int left = zeros;
  for (auto& state : states_) {
    // values at times 0 and first / 2, then on from `first` with the real ratio
    const double ratio = 2 / first;
    src_reset(state.get());
    src_set_ratio(state.get(), ratio);
    float value = 0;
    left = zeros - 1;
    while (convert(state.get(), ratio, &zero, 1, &value, 1) == 0) --left;
    convert(state.get(), ratio, &zero, 0, &value, 1);
    src_set_ratio(state.get(), ratio_);
  }
  for (; left > 0; --left) {
    run(out, 1, [&](std::size_t) { return &zero; });
  }
}

void Resampler::process(const float* const* in, int n, Fifo& out) noexcept {
  run(out, n, [&](std::size_t channel) { return in[channel]; });
}

template <class Source>
void Resampler::run(Fifo& out, int n, Source source) noexcept {
  const int room = static_cast<int>(std::ceil(n * ratio_)) + 2;
  out.reserve(room);
  int made = 0;
  for (std::size_t c = 0; c < states_.size(); ++c) {
    made = convert(states_[c].get(), ratio_, source(c), n, out.end(static_cast<int>(c)), room);
  }
  out.add(made);
}

}  // namespace ravel::player
