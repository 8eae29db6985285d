// The safetensors container: metadata strings and named tensors, https://github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graph.h"

namespace ravel::safetensors {

struct File {
  std::map<std::string, std::string, std::less<>> metadata;
  std::vector<graph::Tensor> tensors;  // in the order of the data, which they cover exactly
};

// Throws Error. The tensors point into `bytes`; their values are not looked at.
File read(const std::byte* bytes, std::size_t size);

}  // namespace ravel::safetensors
