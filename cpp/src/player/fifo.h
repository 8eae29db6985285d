// Channels of samples in a row: written at the end, read from the beginning, contiguous at both.
#pragma once

#include <cstddef>
#include <vector>

namespace ravel::player {

class Fifo {
 public:
  Fifo() = default;
  // Room for `most` values a channel, of which `zeros` are there already.
  Fifo(int channels, int most, int zeros = 0);

  void clear(int zeros) noexcept;

  int channels() const noexcept { return channels_; }
  int size() const noexcept { return end_ - begin_; }
  const float* begin(int channel) const noexcept { return row(channel) + begin_; }
  void drop(int n) noexcept { begin_ += n; }

  // n values go to end(channel), then `add` counts them. What does not fit pushes out the oldest.
  void reserve(int n) noexcept;
  float* end(int channel) noexcept { return row(channel) + end_; }
  void add(int n) noexcept;

  // n values of every channel; zeros stand in for those that are not there yet, which are dropped when they come: the
  // delay stays what it was.
  void take(float* const* to, int n) noexcept;

 private:
  float* row(int channel) noexcept { return values_.data() + static_cast<std::size_t>(channel) * room_; }
  const float* row(int channel) const noexcept { return values_.data() + static_cast<std::size_t>(channel) * room_; }

  int channels_ = 0, most_ = 0, room_ = 0;
  int begin_ = 0, end_ = 0;
  int owed_ = 0;
  std::vector<float> values_;
};

}  // namespace ravel::player
