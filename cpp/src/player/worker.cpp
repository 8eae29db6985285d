// A slot of the ring belongs to the worker from `submitted_` to `done_` and to the audio thread otherwise.
#include "player/worker.h"

#include <algorithm>

#if defined(__APPLE__)
#include <pthread/qos.h>
#endif

namespace ravel::player {

namespace {

constexpr int kMostBehind = 2;  // hops that a worker catches up with; of more it plays the newest

// No real-time priority: woken on the core of an audio thread that has none itself, it kept this one waiting for a whole
// hop (6 ms of `v2`, measured on Linux). macOS only hears that this is no background work.
void hurry_this_thread() noexcept {
#if defined(__APPLE__)
  pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0);
#endif
}

}  // namespace

Worker::Worker(Core& core, int in_channels, int out_channels)
    : core_(core),
      in_channels_(in_channels),
      out_channels_(out_channels),
      in_frames_(core.engine().in_frames() * core.engine().settings().max_hops),
      out_frames_(core.engine().out_frames() * core.engine().settings().max_hops),
      in_(static_cast<std::size_t>(in_channels)),
      out_(static_cast<std::size_t>(out_channels)) {
  for (Hop& hop : hops_) {
    hop.in.resize(static_cast<std::size_t>(in_channels) * in_frames_);
    hop.out.resize(static_cast<std::size_t>(out_channels) * out_frames_);
  }
  thread_ = std::thread([this] { loop(); });
}

Worker::~Worker() {
  stop_ = true;
  work_.post();
  thread_.join();
}

void Worker::reset() noexcept {
  reset_ = true;
  first_ = next_;
}

bool Worker::exchange(const float* const* in, float* const* out, bool offline) noexcept {
  const std::int64_t wanted = next_ - 1;
  const bool silent = wanted < first_;  // nothing came before
  if (offline) {
    while (done_.load(std::memory_order_acquire) < submitted_.load(std::memory_order_relaxed)) finished_.wait();
  }
  const bool found = !silent && collect(wanted, out);
  if (!found) {
    for (int c = 0; c < out_channels_; ++c) std::fill_n(out[c], out_frames_, 0.0f);
  }
  hand_over(in);
  if (offline) {  // nothing else may happen before it is done, or results would depend on when
    while (done_.load(std::memory_order_acquire) < submitted_.load(std::memory_order_relaxed)) finished_.wait();
  }
  return found || silent;
}

void Worker::hand_over(const float* const* in) noexcept {
  const std::int64_t index = next_++;
  // what came too late makes room
  while (taken_ < done_.load(std::memory_order_acquire) &&
         hops_[static_cast<std::size_t>(taken_ % kHops)].index < index)
    ++taken_;
  const std::int64_t submitted = submitted_.load(std::memory_order_relaxed);
  if (submitted - taken_ >= kHops) return;
  Hop& hop = hops_[static_cast<std::size_t>(submitted % kHops)];
  hop.index = index;
  hop.reset = reset_;
  reset_ = false;
  for (int c = 0; c < in_channels_; ++c) {
    std::copy_n(in[c], in_frames_, hop.in.data() + static_cast<std::size_t>(c) * in_frames_);
  }
  submitted_.store(submitted + 1, std::memory_order_release);
  work_.post();
}

bool Worker::collect(std::int64_t index, float* const* out) noexcept {
  while (taken_ < done_.load(std::memory_order_acquire)) {
    const Hop& hop = hops_[static_cast<std::size_t>(taken_ % kHops)];
    if (hop.index > index) return false;
    ++taken_;
    if (hop.index < index) continue;
    if (hop.skipped) return false;
    for (int c = 0; c < out_channels_; ++c) {
      std::copy_n(hop.out.data() + static_cast<std::size_t>(c) * out_frames_, out_frames_, out[c]);
    }
    return true;
  }
  return false;
}

void Worker::loop() noexcept {
  hurry_this_thread();
  for (;;) {
    work_.wait();
    if (stop_.load()) return;
    for (;;) {
      const std::int64_t done = done_.load(std::memory_order_relaxed);
      const std::int64_t behind = submitted_.load(std::memory_order_acquire) - done;
      if (behind == 0) break;
      Hop& hop = hops_[static_cast<std::size_t>(done % kHops)];
      if (hop.reset) core_.reset();
      hop.skipped = behind > kMostBehind;
      for (int c = 0; c < in_channels_; ++c)
        in_[static_cast<std::size_t>(c)] = hop.in.data() + static_cast<std::size_t>(c) * in_frames_;
      for (int c = 0; c < out_channels_; ++c)
        out_[static_cast<std::size_t>(c)] = hop.out.data() + static_cast<std::size_t>(c) * out_frames_;
      if (!hop.skipped) core_.run(in_.data(), out_.data(), core_.engine().settings().max_hops);
      done_.store(done + 1, std::memory_order_release);
      finished_.post();
      if (stop_.load()) return;
    }
  }
}

}  // namespace ravel::player
