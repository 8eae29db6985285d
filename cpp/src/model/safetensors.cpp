// Checks a safetensors file down to the last byte, and says of other files what they seem to be.
#include "safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "json.h"
#include "ravel/error.h"
#include "text.h"

namespace ravel::safetensors {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in the file");

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 4 << 20;  // v2 needs 37 KB
constexpr std::size_t kMaxDimensions = 8;

// What the first bytes of other files mean; a header's length may begin the same way, so these are only for bad ones.
struct Foreign {
  std::string_view start;
  const char* what;
};
using namespace std::string_view_literals;
constexpr Foreign kForeign[] = {
    {"PK\x03\x04"sv, "this is a TorchScript export or another zip archive; give the .ravel beside it"},
    {"\xff\xd8\xff"sv, "this is a JPEG picture, not a model"},
    {"\x89PNG"sv, "this is a PNG picture, not a model"},
    {"RIFF"sv, "this is a WAV recording, not a model"},
    {"fLaC"sv, "this is a FLAC recording, not a model"},
    {"OggS"sv, "this is an Ogg recording, not a model"},
    {"ID3"sv, "this is an MP3 recording, not a model"},
    {"\x80\x02"sv, "this is a pickled checkpoint; export it, and give the .ravel"},
    {"\x1f\x8b"sv, "this is compressed with gzip; unpack it first"},
    {"version https://git-lfs"sv, "this is a Git LFS pointer; fetch the file itself with `git lfs pull`"},
};

[[noreturn]] void refuse(const std::string& message) { throw Error(message); }

std::string plural_bytes(std::uint64_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

std::uint64_t little_endian(std::string_view eight) {
  std::uint64_t value = 0;
  std::memcpy(&value, eight.data(), kLengthBytes);
  return value;
}

// Why these bytes have no safetensors header.
[[noreturn]] void refuse_foreign(std::string_view text) {
  for (const Foreign& foreign : kForeign) {
    if (text.starts_with(foreign.start)) refuse(foreign.what);
  }
  if (text.size() < kLengthBytes + 2) refuse("the file has " + plural_bytes(text.size()) + ", too few for a model");
  if (text[kLengthBytes] != '{') refuse("this is not a .ravel file: no header where one should start");
  const std::uint64_t length = little_endian(text), room = text.size() - kLengthBytes;
  const std::string eight(text.substr(0, kLengthBytes));
  if (little_endian(std::string(eight.rbegin(), eight.rend())) <= room) {
    refuse("the header's length is big-endian, a .ravel file is little-endian");
  }
  if (length > kMaxHeaderBytes) {
    refuse("the header claims " + plural_bytes(length) + ", more than the " + std::to_string(kMaxHeaderBytes) +
           " that one may have");
  }
  refuse("the header claims " + plural_bytes(length) + ", the file has " + std::to_string(room) +
         " after its length: truncated?");
}

std::string_view header_of(std::string_view text) {
  if (text.empty()) refuse("the file is empty");
  if (text.size() < kLengthBytes + 2 || text[kLengthBytes] != '{') refuse_foreign(text);
  const std::uint64_t length = little_endian(text);
  if (length > kMaxHeaderBytes || length > text.size() - kLengthBytes) refuse_foreign(text);
  return text.substr(kLengthBytes, static_cast<std::size_t>(length));
}

std::uint64_t natural(const json::Value& value, const std::string& what) {
  const auto* number = value.as<std::int64_t>();
  if (!number || *number < 0) refuse(what + ": expects whole numbers from 0 on");
  return static_cast<std::uint64_t>(*number);
}

graph::Tensor::Type type_of(const json::Value& entry, const std::string& what) {
  const json::Value* dtype = entry.find("dtype");
  const auto* name = dtype ? dtype->as<std::string>() : nullptr;
  if (!name) refuse(what + ": no dtype");
  if (*name == "F32") return graph::Tensor::Type::f32;
  if (*name == "BF16") return graph::Tensor::Type::bf16;
  refuse(what + ": dtype " + printable(*name) + ", expects F32 or BF16");
}

// Values of the shape, checked against overflow before the multiplication.
std::uint64_t read_shape(const json::Value& entry, graph::Tensor& tensor, const std::string& what) {
  const json::Value* shape = entry.find("shape");
  const auto* sizes = shape ? shape->array() : nullptr;
  if (!sizes || sizes->size() > kMaxDimensions) refuse(what + ": expects a shape of at most 8 dimensions");
  std::uint64_t count = 1;
  for (const json::Value& size : *sizes) {
    const std::uint64_t n = natural(size, what + ": shape");
    if (n == 0) refuse(what + ": has no values");
    if (n > std::numeric_limits<std::int64_t>::max() / 4 / count) refuse(what + ": its shape overflows");
    count *= n;
    tensor.shape.push_back(static_cast<std::int64_t>(n));
  }
  return count;
}

struct Placed {
  graph::Tensor tensor;
  std::uint64_t begin = 0, end = 0;
};

Placed read_tensor(const json::Member& member, const std::byte* data, std::uint64_t size) {
  const std::string what = "tensor " + printable(member.key);
  const json::Value& entry = member.value;
  if (!entry.object() || entry.object()->size() != 3) refuse(what + ": expects dtype, shape and data_offsets");
  Placed placed;
  placed.tensor.name = member.key;
  placed.tensor.type = type_of(entry, what);
  const std::uint64_t count = read_shape(entry, placed.tensor, what);
  const json::Value* offsets = entry.find("data_offsets");
  if (!offsets || !offsets->array() || offsets->array()->size() != 2) refuse(what + ": expects two data_offsets");
  placed.begin = natural((*offsets->array())[0], what + ": data_offsets");
  placed.end = natural((*offsets->array())[1], what + ": data_offsets");
  if (placed.begin > placed.end) refuse(what + ": data_offsets run backwards");
  if (placed.end > size) {
    refuse(what + ": ends at byte " + std::to_string(placed.end) + " of the data, the file has " +
           std::to_string(size) + ": truncated?");
  }
  const std::uint64_t needed = count * (placed.tensor.type == graph::Tensor::Type::f32 ? 4 : 2);
  if (placed.end - placed.begin != needed) {
    refuse(what + ": has " + std::to_string(placed.end - placed.begin) + " bytes, its shape needs " +
           std::to_string(needed));
  }
  placed.tensor.data = data + placed.begin;
  return placed;
}

void check_cover(std::vector<Placed>& placed, std::uint64_t size) {
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
  std::uint64_t at = 0;
  for (const Placed& p : placed) {
    const std::string what = "tensor " + printable(p.tensor.name);
    if (p.begin < at) refuse(what + ": overlaps the one before it");
    if (p.begin > at) refuse(what + ": leaves a gap of " + std::to_string(p.begin - at) + " bytes before it");
    at = p.end;
  }
  if (at != size) refuse("the file has " + plural_bytes(size - at) + " after its last tensor");
}

void read_metadata(const json::Value& value, File& file) {
  if (!value.object()) refuse("__metadata__: expects an object of strings");
  for (const json::Member& member : *value.object()) {
    const auto* text = member.value.as<std::string>();
    if (!text) refuse("__metadata__: " + in_quotes(member.key) + " is not a string");
    file.metadata.emplace(member.key, *text);
  }
}

}  // namespace

File read(const std::byte* bytes, std::size_t size) {
  const std::string_view text = header_of({reinterpret_cast<const char*>(bytes), size});
  const json::Value header = json::parse(text, "header");
  if (!header.object()) refuse("header: expects an object");
  const std::size_t begin = kLengthBytes + text.size();
  File file;
  std::vector<Placed> placed;
  for (const json::Member& member : *header.object()) {
    if (member.key == "__metadata__") {
      read_metadata(member.value, file);
    } else {
      placed.push_back(read_tensor(member, bytes + begin, size - begin));
    }
  }
  check_cover(placed, size - begin);
  for (Placed& p : placed) file.tensors.push_back(std::move(p.tensor));
  return file;
}

}  // namespace ravel::safetensors
