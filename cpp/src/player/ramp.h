// A value on its way to another in a straight line, so that no control clicks.
#pragma once

namespace ravel::player {

class Ramp {
 public:
  explicit Ramp(float value = 0) noexcept : now_(value), to_(value) {}

  void jump(float to) noexcept {
    now_ = to_ = to;
    left_ = 0;
  }
  void aim(float to, int steps) noexcept {
    if (to == to_) return;
    to_ = to;
    left_ = steps;
    step_ = (to - now_) / static_cast<float>(steps);
  }
  float next() noexcept {
    if (left_ > 0) now_ = --left_ == 0 ? to_ : now_ + step_;
    return now_;
  }
  // The next `n` values.
  void next(float* values, int n) noexcept {
    for (int i = 0; i < n; ++i) values[i] = next();
  }
  bool still() const noexcept { return left_ == 0; }
  float now() const noexcept { return now_; }
  float target() const noexcept { return to_; }

 private:
  float now_, to_, step_ = 0;
  int left_ = 0;
};

}  // namespace ravel::player
