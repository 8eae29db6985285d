// What a performer turns, as atomics: written by any thread, read once a block or hop by those that play.
#pragma once

#include <algorithm>
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
  float at(int stream, int latent) const noexcept {
    return values[index(stream, latent)].load(std::memory_order_relaxed);
  }
  void put(int stream, int latent, float value) noexcept {
    values[index(stream, latent)].store(value, std::memory_order_relaxed);
  }

  std::array<std::atomic<float>, kMostStreams * kMostLatents> values{};

 private:
  static std::size_t index(int stream, int latent) noexcept {
    return static_cast<std::size_t>(std::min(stream, kMostStreams - 1) * kMostLatents + latent);
  }
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
