// The tensors of a file, each given out once, to the node that names it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "graph.h"

namespace ravel::graph {

class Tensors {
 public:
  explicit Tensors(std::vector<Tensor> tensors);

  // Throws Error, which starts with `where`, unless there is such a tensor, of this shape, with finite values, that
  // nobody took yet: what is packed is then never more than the file holds.
  Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const std::string& where);
  std::vector<float> take_floats(const std::string& name, const std::vector<std::int64_t>& shape,
                                 const std::string& where);  // refuses bfloat16

  // Throws for a tensor that nobody took.
  void finish() const;

 private:
  struct Entry {
    Tensor tensor;
    std::string taker;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace ravel::graph
