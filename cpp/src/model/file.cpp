// Reads a regular file of bounded size in one go.
#include "file.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>

#include "ravel/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ravel {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxBytes = std::uintmax_t{2} << 30;  // v2 in fp32 has 127 MB

std::uintmax_t size_of(const fs::path& path, const std::string& shown) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (status.type() == fs::file_type::not_found) throw Error(shown + ": no such file");
  if (status.type() == fs::file_type::directory) throw Error(shown + ": is a directory, give the .ravel file in it");
  if (code) throw Error(shown + ": " + code.message());
  if (status.type() != fs::file_type::regular) throw Error(shown + ": is not a regular file");
  const std::uintmax_t size = fs::file_size(path, code);
  if (code) throw Error(shown + ": " + code.message());
  if (size > kMaxBytes) {
    throw Error(shown + ": " + std::to_string(size) + " bytes, more than the " + std::to_string(kMaxBytes) +
                " that a model may have");
  }
  return size;
}

// On huge pages, where the system has them, the 127 MB of v2 are read in 27 ms and not in 75.
constexpr std::align_val_t kPage{std::size_t{2} << 20};

std::byte* allocate(std::size_t size) {
  auto* data = static_cast<std::byte*>(::operator new[](size, kPage));
#if defined(__linux__)
  if (size >= static_cast<std::size_t>(kPage)) madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

void FileBytes::Free::operator()(std::byte* data) const noexcept { ::operator delete[](data, kPage); }

FileBytes read_file(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    throw Error("the path of the model is empty or has a null in it");
  const fs::path native(std::u8string(path.begin(), path.end()));
  FileBytes bytes;
  bytes.size = static_cast<std::size_t>(size_of(native, path));
  std::ifstream file(native, std::ios::binary);
  if (!file) throw Error(path + ": cannot be opened, check its permissions");
  try {
    bytes.data.reset(allocate(bytes.size));
  } catch (const std::bad_alloc&) {
    throw Error(path + ": no memory for its " + std::to_string(bytes.size) + " bytes");
  }
  file.read(reinterpret_cast<char*>(bytes.data.get()), static_cast<std::streamsize>(bytes.size));
  if (static_cast<std::size_t>(file.gcount()) != bytes.size) {
    throw Error(path + ": gave " + std::to_string(file.gcount()) + " of its " + std::to_string(bytes.size) +
                " bytes; is it being written?");
  }
  return bytes;
}

}  // namespace ravel
