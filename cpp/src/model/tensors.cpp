// Looks tensors up, checks shape and values, and converts them to float32.
#include "tensors.h"

#include <algorithm>
#include <cstring>

#include "ravel/error.h"
#include "text.h"

namespace ravel::graph {
namespace {

template <typename Bits>
Bits bits_at(const std::byte* data, std::size_t i) {
  Bits bits;
  std::memcpy(&bits, data + i * sizeof(Bits), sizeof(Bits));
  return bits;
}

// Index of the first infinity or NaN (all exponent bits set), or `count`. Whole blocks first, which vectorise.
template <typename Bits>
std::size_t first_not_finite(const std::byte* data, std::size_t count, Bits exponent) {
  constexpr std::size_t kBlock = 1024;
  for (std::size_t at = 0; at < count; at += kBlock) {
    const std::size_t end = std::min(count, at + kBlock);
    unsigned bad = 0;
    for (std::size_t i = at; i < end; ++i) bad |= (bits_at<Bits>(data, i) & exponent) == exponent ? 1U : 0U;
    for (std::size_t i = at; bad && i < end; ++i) {
      if ((bits_at<Bits>(data, i) & exponent) == exponent) return i;
    }
  }
  return count;
}

std::string shown(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t n : shape) text += (text.empty() ? "(" : ", ") + std::to_string(n);
  return text.empty() ? "()" : text + ")";
}

}  // namespace

std::size_t Tensor::count() const noexcept {
  std::size_t product = 1;
  for (const std::int64_t n : shape) product *= static_cast<std::size_t>(n);
  return product;
}

std::vector<float> Tensor::values() const {
  std::vector<float> out(count());
  if (type == Type::f32) {
    std::memcpy(out.data(), data, out.size() * sizeof(float));
    return out;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint32_t bits = std::uint32_t{bits_at<std::uint16_t>(data, i)} << 16;
    std::memcpy(&out[i], &bits, sizeof bits);
  }
  return out;
}

Tensors::Tensors(std::vector<Tensor> tensors) {
  for (Tensor& tensor : tensors) {
    std::string name = tensor.name;
    entries_.emplace(std::move(name), Entry{std::move(tensor), {}});
  }
}

Tensor Tensors::take(const std::string& name, const std::vector<std::int64_t>& shape, const std::string& where) {
  const std::string what = where + ": tensor " + printable(name);
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(what + " is not in the file");
  auto& [tensor, taker] = found->second;
  if (!taker.empty()) throw Error(what + " is already that of " + taker);
  taker = where;
  if (tensor.shape != shape) throw Error(what + " has shape " + shown(tensor.shape) + ", expects " + shown(shape));
  const std::size_t count = tensor.count();
  const std::size_t bad = tensor.type == Tensor::Type::f32
                              ? first_not_finite<std::uint32_t>(tensor.data, count, 0x7f800000)
                              : first_not_finite<std::uint16_t>(tensor.data, count, 0x7f80);
  if (bad != count) throw Error(what + " is not finite at index " + std::to_string(bad) + "; the training went wrong");
  return tensor;
}

std::vector<float> Tensors::take_floats(const std::string& name, const std::vector<std::int64_t>& shape,
                                        const std::string& where) {
  const Tensor tensor = take(name, shape, where);
  if (tensor.type != Tensor::Type::f32) throw Error(where + ": tensor " + printable(name) + " is BF16, expects F32");
  return tensor.values();
}

void Tensors::finish() const {
  for (const auto& [name, entry] : entries_) {
    if (entry.taker.empty()) throw Error("extra tensor " + printable(name) + ": no node names it");
  }
}

}  // namespace ravel::graph
