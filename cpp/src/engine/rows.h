// A buffer at run time: rows that grow at the end, and move to the front when there is no more room.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/blueprint.h"

namespace ravel::engine {

class Rows {
 public:
  // Room for `streams` of this buffer: `late` rows that a reader may not have seen yet besides the history, and blocks
  // of up to `block` rows.
  Rows(const Buffer& buffer, int streams, int late, int block);

  std::size_t bytes() const noexcept;
  void place(std::byte* data) noexcept { data_ = data; }
  void reset() noexcept;

  void reserve(int rows) noexcept;  // before a block is written
  void clear(int rows) noexcept;    // in its place: zeros
  void commit(int rows) noexcept {  // when it is
    end_ += rows;
    total_ += rows;
  }

  // Row `row` since the reset (the block being written starts at `total()`; rows before 0 are silence).
  template <class T>
  T* at(std::int64_t row, int column = 0, int plane = 0, int stream = 0) const noexcept {
    return reinterpret_cast<T*>(data_) + stream * stream_stride() + plane * plane_stride_ +
           (end_ + static_cast<std::ptrdiff_t>(row - total_)) * width_ + column;
  }

  std::int64_t total() const noexcept { return total_; }
  int width() const noexcept { return width_; }
  bool bf16() const noexcept { return bf16_; }
  std::ptrdiff_t stream_stride() const noexcept { return plane_stride_ * planes_; }

 private:
  int width_, planes_, streams_;
  bool bf16_;
  int kept_, capacity_;
  std::ptrdiff_t plane_stride_;
  std::byte* data_ = nullptr;
  int end_ = 0;
  std::int64_t total_ = 0;
};

}  // namespace ravel::engine
