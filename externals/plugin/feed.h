// What a display shows, from the audio thread to one reader: rings that are overwritten, never waited for.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "parameters.h"

namespace ravel::plugin {

// The newest values of an endless row. The reader sees whole values; those that it is too late for are lost.
template <std::size_t Size>
class Ring {
 public:
  void push(float value) noexcept {
    const std::uint64_t at = written_.load(std::memory_order_relaxed);
    values_[at % Size].store(value, std::memory_order_relaxed);
    written_.store(at + 1, std::memory_order_release);
  }
  // How many were ever pushed; the caller remembers how far it has read.
  std::uint64_t written() const noexcept { return written_.load(std::memory_order_acquire); }
  float at(std::uint64_t index) const noexcept { return values_[index % Size].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<float>, Size> values_{};
  std::atomic<std::uint64_t> written_{0};
};

class Feed {
 public:
  static constexpr std::size_t kSamples = 1 << 15, kFrames = 1 << 9;

  Ring<kSamples> input, output;  // mean of the channels, at the host's rate; `input` of the dry path as heard
  std::array<Ring<kFrames>, kLatents> latents;  // one value a block of at least kBlock samples
  static constexpr int kBlock = 256;
  std::atomic<float> sample_rate_hz{48000};
};

}  // namespace ravel::plugin
