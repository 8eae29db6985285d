// Memory that weights are read from: huge pages where the system has them, since a hop walks through all of it.
#pragma once

#include <cstddef>
#include <memory>

namespace ravel::engine {

class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t bytes);
  std::byte* data() const noexcept { return data_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t bytes_ = 0;
};

}  // namespace ravel::engine
