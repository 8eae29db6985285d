// A change that must not happen in the middle of a sound: the audio thread fades out, the control thread has its turn,
// the audio thread fades in.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <span>
#include <thread>

namespace ravel {

class Rest {
 public:
  // ---- control thread

  // From the next block on the sound fades out and stays out until `change`.
  void ask() noexcept {
    quiet_ = false;
    asked_ = true;
  }
  bool asked() const noexcept { return asked_; }
  bool quiet() const noexcept { return quiet_; }    // the fade is over
  bool played() const noexcept { return played_; }  // since the last change

  // Calls `what` while the audio thread is kept out, which is silent meanwhile; `sound`: what it comes back with.
  template <class What>
  void change(double sample_rate_hz, bool sound, What&& what) {
    for (int free = nobody; !turn_.compare_exchange_weak(free, control, std::memory_order_acquire); free = nobody)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    what();
    step_ = 1 / (kFadeSeconds * static_cast<float>(sample_rate_hz));
    gain_ = sound ? 1.0F : 0.0F;
    begun_ = sound;
    asked_ = played_ = false;
    turn_.store(nobody, std::memory_order_release);
  }

  // ---- audio thread

  // False: a change is going on. Else `leave` has to follow.
  bool enter() noexcept {
    int free = nobody;
    return turn_.compare_exchange_strong(free, audio, std::memory_order_acquire);
  }
  void leave() noexcept { turn_.store(nobody, std::memory_order_release); }

  // The next block: `played` it is heard, be it while it fades; `begins` it is the first one to be.
  enum class Next { silent, begins, played };
  Next next(bool wanted) noexcept {
    on_ = wanted && !asked_.load(std::memory_order_relaxed);
    if (!on_ && gain_ == 0) {
      begun_ = false;
      quiet_ = true;
      return Next::silent;
    }
    played_ = true;
    return begun_ || gain_ != 0 ? Next::played : Next::begins;
  }
  // A block that cannot be heard anyway.
  void skip() noexcept { quiet_ = true; }
  // Of what begins the first samples are the silence before it has come through: the fade in waits for its end.
  void begin(int silent_samples) noexcept {
    begun_ = true;
    silent_ = silent_samples;
  }
  void fade(std::span<float* const> out, int frames) noexcept {
    if (gain_ == (on_ ? 1.0F : 0.0F)) return;
    const int silent = on_ ? std::min(silent_, frames) : 0;
    silent_ -= silent;
    for (float* channel : out) std::fill_n(channel, silent, 0.0F);
    const float step = on_ ? step_ : -step_;
    for (int i = silent; i < frames; ++i) {
      gain_ = std::clamp(gain_ + step, 0.0F, 1.0F);
      for (float* channel : out) channel[i] *= gain_;
    }
  }

 private:
  static constexpr float kFadeSeconds = 0.02F;
  enum Turn { nobody, audio, control };

  std::atomic<bool> asked_{false}, quiet_{false}, played_{false};
  std::atomic<int> turn_{nobody};
  // Audio thread.
  bool on_ = true, begun_ = true;
  int silent_ = 0;
  float gain_ = 1, step_ = 1e-3F;  // change of gain a sample
};

}  // namespace ravel
