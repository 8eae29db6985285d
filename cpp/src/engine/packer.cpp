// Lays packed weights into one arena, in the order in which programs ask for them.
#include "engine/packer.h"

#include "kernels/pack.h"

namespace ravel::engine {

int Packer::add(const void* owner, int group, int groups, const graph::Tensor* tensor, const std::vector<float>* values,
                const std::vector<float>* bias, kernels::Weights shape, int rows) {
  const auto key = std::make_tuple(owner, group, shape.format);
  if (const auto found = packed_.find(key); found != packed_.end()) return found->second;
  shape.width = blueprint_.kernels->panel_width(shape.outputs, shape.format, rows);
  shape.panels = (shape.outputs + shape.width - 1) / shape.width;
  const int index = static_cast<int>(blueprint_.weights.size());
  blueprint_.weights.push_back(shape);
  jobs_.push_back({owner, group, groups, tensor, values, bias});
  packed_.emplace(key, index);
  return index;
}

int Packer::keep(const void* owner, const std::vector<float>& values) {
  const auto [found, is_new] = kept_.emplace(owner, static_cast<int>(blueprint_.tables.size()));
  if (is_new) blueprint_.tables.push_back(values);
  return found->second;
}

void Packer::pack() {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < jobs_.size(); ++i) bytes += room(i);
  blueprint_.arena = Arena(bytes);
  std::byte* at = blueprint_.arena.data();
  const void* converted = nullptr;  // the groups of a tensor follow each other
  std::vector<float> all;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    auto& weights = blueprint_.weights[i];
    const Job& job = jobs_[i];
    if (job.owner != converted) all = job.tensor != nullptr ? job.tensor->values() : *job.values;
    converted = job.owner;
    const float* share = all.data() + all.size() / job.groups * job.group;
    const float* bias = job.has_bias() ? job.bias->data() + std::size_t(weights.outputs) * job.group : nullptr;
    const std::size_t used = room(i);
    weights = kernels::pack(share, bias, weights.outputs, weights.taps, weights.run, weights.width, weights.format, at);
    at += used;
  }
}

std::size_t Packer::room(std::size_t job) const {
  const kernels::Weights& w = blueprint_.weights[job];
  return kernels::packed_bytes(w.outputs, w.taps, w.run, w.width, w.format, jobs_[job].has_bias());
}

}  // namespace ravel::engine
