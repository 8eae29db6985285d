// One converter a channel: all read and give the same numbers of samples.
#include "player/resampler.h"

#include <samplerate.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ravel/error.h"

namespace ravel::player {

namespace {

constexpr double kLargestFirst = 1.25;

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
  least_zeros_ = std::max(zeros_until_first(1 / kLargestFirst), zeros_until_first(1.0)) + 1;
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
    // one value at time 0 with the next one `first` later, then on with the real ratio
    src_reset(state.get());
    src_set_ratio(state.get(), 1 / first);
    float value = 0;
    left = zeros - 1;
    while (convert(state.get(), 1 / first, &zero, 1, &value, 1) == 0) --left;
    src_set_ratio(state.get(), ratio_);
  }
  const std::vector<const float*>::size_type channels = states_.size();
  for (; left > 0; --left) {
    out.reserve(static_cast<int>(std::ceil(ratio_)) + 2);
    int made = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      made = convert(states_[c].get(), ratio_, &zero, 1, out.end(static_cast<int>(c)),
                     static_cast<int>(std::ceil(ratio_)) + 2);
    }
    out.add(made);
  }
}

void Resampler::process(const float* const* in, int n, Fifo& out) noexcept {
  const int room = static_cast<int>(std::ceil(n * ratio_)) + 2;
  out.reserve(room);
  int made = 0;
  for (std::size_t c = 0; c < states_.size(); ++c) {
    made = convert(states_[c].get(), ratio_, in[c], n, out.end(static_cast<int>(c)), room);
  }
  out.add(made);
}

}  // namespace ravel::player
