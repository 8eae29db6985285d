// Weights that some program needs, packed once however many programs share them.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "engine/blueprint.h"

namespace ravel::engine {

class Packer {
 public:
  explicit Packer(Blueprint& blueprint) : blueprint_(blueprint) {}

  // Group `group` of `groups` of a weight (outputs, taps, run), `rows` results a hop. `owner` tells weights apart.
  // Returns its index in Blueprint::weights; the tensor, values and bias are read by `pack`.
  int add(const void* owner, int group, int groups, const graph::Tensor* tensor, const std::vector<float>* values,
          const std::vector<float>* bias, kernels::Weights shape, int rows);
  // Keeps values to be read row by row. Returns their index in Blueprint::tables.
  int keep(const void* owner, const std::vector<float>& values);
  // Fills the arena with everything that was added.
  void pack();

 private:
  struct Job {
    const void* owner;
    int group, groups;
    const graph::Tensor* tensor;
    const std::vector<float>* values;
    const std::vector<float>* bias;
    bool has_bias() const { return bias != nullptr && !bias->empty(); }
  };

  std::size_t room(std::size_t job) const;

  Blueprint& blueprint_;
  std::vector<Job> jobs_;
  std::map<std::tuple<const void*, int, kernels::Format>, int> packed_;
  std::map<const void*, int> kept_;
};

}  // namespace ravel::engine
