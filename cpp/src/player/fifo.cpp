// The queue moves its content to the front when it reaches the end of its memory.
#include "player/fifo.h"

#include <algorithm>
#include <cstring>

namespace ravel::player {

namespace {
constexpr int kSpareValues = 1024;  // so that moves are rare where little is queued
}

Fifo::Fifo(int channels, int most, int zeros)
    : channels_(channels),
      most_(std::max(most, zeros)),
      room_(2 * most_ + kSpareValues),
      values_(static_cast<std::size_t>(channels) * room_) {
  clear(zeros);
}

void Fifo::clear(int zeros) noexcept {
  begin_ = owed_ = 0;
  end_ = zeros;
  for (int c = 0; c < channels_; ++c) std::fill_n(row(c), zeros, 0.0f);
}

void Fifo::reserve(int n) noexcept {
  begin_ += std::max(0, size() + n - room_);
  if (end_ + n <= room_) return;
  for (int c = 0; c < channels_; ++c) std::memmove(row(c), row(c) + begin_, sizeof(float) * size());
  end_ -= begin_;
  begin_ = 0;
}

void Fifo::add(int n) noexcept {
  end_ += n;
  const int late = std::min(owed_, size());
  begin_ += late;
  owed_ -= late;
}

void Fifo::take(float* const* to, int n) noexcept {
  const int there = std::min(n, size());
  for (int c = 0; c < channels_; ++c) {
    std::copy_n(begin(c), there, to[c]);
    std::fill_n(to[c] + there, n - there, 0.0f);
  }
  begin_ += there;
  owed_ += n - there;
}

}  // namespace ravel::player
