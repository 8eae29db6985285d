// Where rows go, and when they move.
#include "engine/rows.h"

#include <algorithm>
#include <cstring>

namespace ravel::engine {

namespace {

constexpr std::ptrdiff_t kCacheLineValues = 32;  // of bfloat16, the smaller type

}  // namespace

Rows::Rows(const Buffer& buffer, int streams, int late, int block)
    : width_(buffer.width),
      planes_(buffer.planes),
      streams_(streams),
      bf16_(buffer.bf16),
      kept_(buffer.history + late) {
  // moving the kept rows every so many blocks costs at most one more row for each row written
  const int blocks = std::max(1, (kept_ + block - 1) / block);
  capacity_ = kept_ + block * blocks;
  const std::ptrdiff_t values = std::ptrdiff_t{capacity_} * width_ + kernels::kSlackFloats;
  plane_stride_ = (values + kCacheLineValues - 1) / kCacheLineValues * kCacheLineValues;
}

std::size_t Rows::bytes() const noexcept {
  return static_cast<std::size_t>(stream_stride()) * streams_ * (bf16_ ? sizeof(std::uint16_t) : sizeof(float));
}

void Rows::reset() noexcept {
  std::memset(data_, 0, bytes());
  end_ = kept_;
  total_ = 0;
}

void Rows::reserve(int rows) noexcept {
  if (end_ + rows <= capacity_) return;
  const std::size_t value = bf16_ ? sizeof(std::uint16_t) : sizeof(float);
  const std::size_t row = value * static_cast<std::size_t>(width_);
  for (int i = 0; i < streams_ * planes_; ++i) {
    std::byte* plane = data_ + value * static_cast<std::size_t>(plane_stride_) * i;
    std::memmove(plane, plane + row * static_cast<std::size_t>(end_ - kept_), row * static_cast<std::size_t>(kept_));
  }
  end_ = kept_;
}

void Rows::clear(int rows) noexcept {
  const std::size_t value = bf16_ ? sizeof(std::uint16_t) : sizeof(float);
  const std::ptrdiff_t first = std::ptrdiff_t{end_} * width_;
  for (int i = 0; i < streams_ * planes_; ++i) {
    std::memset(data_ + value * static_cast<std::size_t>(plane_stride_ * i + first), 0,
                value * static_cast<std::size_t>(width_) * static_cast<std::size_t>(rows));
  }
}

}  // namespace ravel::engine
