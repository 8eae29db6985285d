// What MIDI does: notes become an envelope, controllers become parameters.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "parameters.h"

namespace ravel::plugin {

// The notes that sound, the newest counts. Audio thread.
class Keys {
 public:
  void press(int note, float velocity) noexcept;
  void release(int note) noexcept;
  void pedal(bool down) noexcept;
  void all_off() noexcept;
  bool sounding() const noexcept { return count_ > 0; }
  int note() const noexcept { return note_; }            // the newest, also after it was released
  float velocity() const noexcept { return velocity_; }  // 0 .. 1

 private:
  struct Key {
    int note = 0;
    float velocity = 0;
    bool down = true;  // else the pedal holds it
  };
  void erase(int index) noexcept;
  void lead() noexcept;

  static constexpr int kMost = 32;
  std::array<Key, kMost> keys_{};
  int count_ = 0;
  bool pedal_ = false;
  int note_ = 60;
  float velocity_ = 0;
};

// 0 .. 1 in straight lines.
class Envelope {
 public:
  float now() const noexcept { return now_; }
  // One sample further.
  float next(bool open, float attack_step, float release_step) noexcept;

 private:
  float now_ = 0;
};

// Which controller moves which parameter. Any thread.
class Assignments {
 public:
  Assignments() noexcept { clear(); }
  void clear() noexcept;
  void learn(int parameter) noexcept { learning_ = parameter; }
  int learning() const noexcept { return learning_; }
  int controller_of(int parameter) const noexcept;  // -1: none
  void assign(int controller, int parameter) noexcept;
  void forget(int parameter) noexcept;
  // The parameter that this controller moves now, -1: none; while one is learnt, it is that one from now on.
  int move(int controller) noexcept;

 private:
  std::array<std::atomic<std::int16_t>, 128> parameters_;
  std::atomic<int> learning_{-1};
};

}  // namespace ravel::plugin
