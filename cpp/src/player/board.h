// What a performer turns, as atomics: written by any thread, read once a block or hop by those that play.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "ravel/player.h"

namespace ravel::player {

constexpr int kMostLatents = 256;  // that can be shaped; the others pass
constexpr int kMostStreams = 4;    // whose latents are shown and stored apart

struct LatentBoard {
  std::atomic<float> scale{1}, bias{0}, override_value{0};
  std::atomic<bool> override_on{false};
};

// Latents of every stream, as played or as stored.
struct Frame {
  std::array<std::array<std::atomic<float>, kMostLatents>, kMostStreams> values{};
};

struct Board {
  Board() noexcept;

  float value(Control control) const noexcept;
  bool on(Switch which) const noexcept;

  static constexpr int kFree = 0, kHold = 1, kSnapshot = 2;  // kSnapshot + slot

  std::array<std::atomic<float>, static_cast<std::size_t>(Control::count_)> controls;
  std::array<std::atomic<bool>, static_cast<std::size_t>(Switch::count_)> switches;  // freeze lives in `hold`
  std::atomic<int> hold{kFree};
  std::atomic<std::int64_t> seed{0};
  std::array<LatentBoard, kMostLatents> latents;
  Frame heard;
  std::array<Frame, 2> snapshots;
};

}  // namespace ravel::player
