// Noise as a pure function of position, with the integers of python/model/noise.py.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/blueprint.h"

namespace ravel::engine {

// A source's place in its endless noise, for every stream.
class NoiseState {
 public:
  NoiseState(const Noise& noise, int streams);

  void reset(std::int64_t seed) noexcept;   // to frame 0 of this seed
  void reseed(std::int64_t seed) noexcept;  // another seed, the same frame

  // What a row of `frame` frames after (or before) the current one is made from: its keys a channel, and its low half.
  const std::uint32_t* keys(int stream, int frame) noexcept;
  std::uint32_t low(int frame) const noexcept { return static_cast<std::uint32_t>(frame_ + frame); }
  // For that row: 24 random bits a channel, as a number in [0, 1); N(0, 1).
  float uniform(int stream, int frame, int channel) noexcept;
  void gaussian(int stream, int frame, float* y) noexcept;

  void advance(int frames) noexcept { frame_ += frames; }
  int channels() const noexcept { return noise_.channels; }

 private:
  Noise noise_;
  int streams_;
  std::int64_t seed_ = 0, frame_ = 0;
  std::int64_t high_ = 0;                    // upper half of the frame that `mixed_` is for
  std::vector<std::uint32_t> base_, mixed_;  // streams * channels

  void mix_high(std::int64_t high) noexcept;
};

}  // namespace ravel::engine
