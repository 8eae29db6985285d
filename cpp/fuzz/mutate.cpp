// A mutator that knows the file: it keeps the container intact and changes the texts and numbers inside.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "ravel/error.h"
#include "sample_models.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using ravel::test::SampleFile;
using Random = std::minstd_rand;

// Throws Error where the container is broken.
SampleFile taken_apart(const std::uint8_t* data, std::size_t size) {
  const auto file = ravel::safetensors::read(reinterpret_cast<const std::byte*>(data), size);
  SampleFile parts;
  parts.metadata.insert(file.metadata.begin(), file.metadata.end());
  for (const auto& tensor : file.tensors) {
    parts.tensors.push_back(
        {tensor.name, tensor.shape, tensor.values(), tensor.type == ravel::graph::Tensor::Type::bf16});
  }
  return parts;
}

// Puts another number in the place of one of those in `text`.
void change_number(std::string& text, Random& random) {
  static constexpr const char* values[] = {"0", "1",  "2",  "3",     "4",       "7",          "8",
                                           "9", "16", "-1", "65536", "1048576", "4294967297", "0.5"};
  std::vector<std::size_t> starts;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) &&
        (text[i - 1] == ':' || text[i - 1] == '[' || text[i - 1] == ',' || text[i - 1] == ' ')) {
      starts.push_back(i);
    }
  }
  if (starts.empty()) return;
  const std::size_t start = starts[random() % starts.size()];
  const std::size_t end = std::min(text.find_first_not_of("0123456789.", start), text.size());
  text.replace(start, end - start, values[random() % std::size(values)]);
}

void mutate(std::string& text, Random& random) {
  if (random() % 4 != 0) return change_number(text, random);
  const std::size_t size = text.size(), room = size + 64;
  text.resize(room);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, room));
}

// A sound model of another shape.
SampleFile drawn(Random& random) {
  const auto one_to = [&](unsigned most) { return static_cast<int>(1 + random() % most); };
  ravel::test::SampleOptions options;
  options.channels = one_to(2);
  options.bands = one_to(3);
  options.width = 2 * one_to(2);
  options.strides.assign(static_cast<std::size_t>(one_to(2)), 1);
  for (int& stride : options.strides) stride = one_to(5);
  options.latent_size = one_to(4);
  options.kept = one_to(static_cast<unsigned>(options.latent_size));
  options.quantisers = random() % 2 == 0 ? one_to(3) : 0;
  options.codes = 1 + one_to(4);
  options.bf16 = random() % 2 == 0;
  options.snake = random() % 2 == 0;
  options.noise_bands = 1 + one_to(4);
  int frames = 1;
  for (const int stride : options.strides) frames *= stride;
  options.noise = frames % 4 == 0;
  return ravel::test::every_op(options);
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  Random random(seed);
  if (random() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  try {
    SampleFile file = random() % 32 == 0 ? drawn(random) : taken_apart(data, size);
    std::string header = file.header();
    const auto kind = random() % 8;
    if (kind == 0) {
      mutate(header, random);
    } else {
      mutate(file.metadata[kind < 7 ? "graph" : "card"], random);
      header = file.header();
    }
    const auto bytes = ravel::test::assembled(header, file.data());
    if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
    std::memcpy(data, bytes.data(), bytes.size());
    return bytes.size();
  } catch (const std::exception&) {  // no container, or text that is no longer UTF-8
    return LLVMFuzzerMutate(data, size, max_size);
  }
}
