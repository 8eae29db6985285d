// One thread that runs hops for the audio thread: two counters and a ring of hops between them, no lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "player/core.h"
#include "player/semaphore.h"

namespace ravel::player {

class Worker {
 public:
  Worker(Core& core, int in_channels, int out_channels);
  ~Worker();

  // A hop here is what the engine takes at once, of a script several.

  // Audio thread: hands over a hop and gives the result of the one before. Late: silence, and false. `offline`: waits.
  bool exchange(const float* const* in, float* const* out, bool offline) noexcept;
  // Something is still to be done for the audio thread.
  bool busy() const noexcept { return done_.load() < submitted_.load(); }
  // Audio thread: the histories are cleared before the next hop.
  void reset() noexcept;

 private:
  static constexpr int kHops = 4;

  struct Hop {
    std::int64_t index = 0;
    bool reset = false;    // before it
    bool skipped = false;  // given up
    std::vector<float> in, out;
  };

  void hand_over(const float* const* in) noexcept;
  bool collect(std::int64_t index, float* const* out) noexcept;
  void loop() noexcept;

  Core& core_;
  int in_channels_, out_channels_, in_frames_, out_frames_;
  std::array<Hop, kHops> hops_;
  std::int64_t next_ = 0, first_ = 0, taken_ = 0;  // audio thread: hop to come, first since the reset, results taken
  bool reset_ = false;
  std::atomic<std::int64_t> submitted_{0}, done_{0};
  std::atomic<bool> stop_{false};
  Semaphore work_, finished_;
  std::vector<const float*> in_;  // worker
  std::vector<float*> out_;
  std::thread thread_;
};

}  // namespace ravel::player
