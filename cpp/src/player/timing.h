// Latency as arithmetic: what a voice has to wait for, counted in whole samples, so that its output never runs dry.
//
// M(n) model samples have come in once the host has brought n samples, and E(n) have come out of the engine:
//   E(n) = quantum * (M(n) - hold_back) / quantum, rounded down.
// Output t of the host stands for engine output (t - latency) * model / host + delay and can be made once this one,
// and `look_ahead_out` beyond it, is there. The least latency is the largest lack over all n that a host can bring.
#pragma once

#include <cstdint>

#include "ravel/engine.h"
#include "ravel/player.h"

namespace ravel::player {

// Sample rates as a reduced fraction.
struct Rates {
  std::int64_t model = 1, host = 1;
  Rates() = default;
  Rates(double model_hz, double host_hz);
  bool same() const noexcept { return model == host; }
  double model_per_host() const noexcept { return static_cast<double>(model) / static_cast<double>(host); }
};

struct Schedule {
  Mode mode = Mode::inline_;
  int slices = 0, core_slices = 1;  // sliced only
  int quantum = 1;                  // model samples that are worked on at once
  int hops = 1;                     // threaded only: that the worker takes at once
};

// Inline where a hop costs little of its block; else slices of at most a block. A script allocates: always threaded.
Schedule schedule(const Model& model, Method method, int streams, const Host& host, Mode wanted, int core_slices);

// A script that knows no rate plays at the host's.
double sample_rate(const Model& model, const Host& host) noexcept;

// What separates engine output from host input.
struct Path {
  Rates rates;
  int block = 1;          // host samples come in multiples of it
  int quantum = 1;        // model samples
  int hold_back = 0;      // model samples that are in before their quantum begins to count
  int look_ahead_in = 0;  // of the resamplers, in their input's samples; 0 without
  int look_ahead_out = 0;
  int delay = 0;  // engine output that is late, in model samples
};

// Host samples; the least that output needs at any time, unrounded: a latency has to be larger than it.
double lack(const Path& path);

// Counts whole groups of `group` model samples as host samples go by.
class GroupClock {
 public:
  GroupClock() = default;
  GroupClock(const Rates& rates, int group) : step_(rates.model), size_(rates.host * group) {}
  void reset() noexcept { phase_ = 0; }
  // Host samples until the next group is complete, at least 1.
  int until_next() const noexcept { return static_cast<int>((size_ - phase_ + step_ - 1) / step_); }
  // Goes on by n; returns how many groups were completed.
  int advance(int n) noexcept {
    phase_ += n * step_;
    const std::int64_t groups = phase_ / size_;
    phase_ -= groups * size_;
    return static_cast<int>(groups);
  }

 private:
  std::int64_t step_ = 1, size_ = 1, phase_ = 0;
};

}  // namespace ravel::player
