// Whole files into memory: never mapped, so that a file replaced while a model plays cannot pull it away.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace ravel {

struct FileBytes {
  struct Free {
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> data;
  std::size_t size = 0;
};

// `path` is UTF-8. Throws Error, which starts with the path.
FileBytes read_file(const std::string& path);

}  // namespace ravel
