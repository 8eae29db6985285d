// Walks a graph as an engine would and adds up the rows that each layer reads and writes.
#include "memory.h"

#include <cstdint>

#include "ravel/error.h"

namespace ravel::graph {
namespace {

constexpr std::int64_t kMaxFloats = (std::int64_t{256} << 20) / 4;  // v2 in stereo needs 6 MB

struct Flow {
  std::int64_t frames = 0;  // a hop
  std::int64_t behind = 0;  // rows that the next reader looks further back, for delays that are not stored themselves
};

// Bounds on channels, frames and spans keep every product and sum below 2^63.
class Meter {
 public:
  void read(const Node& node, Flow in, std::int64_t history) {
    add(node, (in.frames + in.behind + history) * node.in_channels);
  }

  void add(const Node& node, std::int64_t floats) {
    floats_ += floats;
    if (floats_ > kMaxFloats) throw Error(node.name + ": with the layers before it, a stream needs more than 256 MB");
  }

  Flow through(const Node& node, Flow in) {
    return std::visit([&](const auto& op) { return through(node, op, in); }, node.op);
  }

 private:
  Flow through(const Node&, const Serial& serial, Flow flow) {
    for (const Node& layer : serial.layers) flow = through(layer, flow);
    return flow;
  }
  Flow through(const Node& node, const Combine& combine, Flow in) {
    Flow out;
    for (std::size_t i = 0; i < combine.branches.size(); ++i) {
      out = through(combine.branches[i], in);
      out.behind += combine.waits[i];
      add(node, (out.frames + out.behind) * node.out_channels);
    }
    return combine.branches.size() == 1 ? out : Flow{out.frames, 0};
  }
  Flow through(const Node& node, const Conv1d& conv, Flow in) {
    read(node, in, conv.history());
    return written(node, in.frames / conv.stride);
  }
  Flow through(const Node& node, const Upsample& upsample, Flow in) {
    read(node, in, upsample.taps - 1);
    return written(node, in.frames * upsample.ratio);
  }
  Flow through(const Node& node, const Delay& delay, Flow in) {
    in.behind += delay.frames;
    read(node, in, 0);
    return in;
  }
  Flow through(const Node& node, const LeakyReLU&, Flow in) {
    read(node, in, 0);
    return in;
  }
  Flow through(const Node& node, const FilteredNoise& noise, Flow in) {
    const std::int64_t taps = 2 * (noise.noise_bands - 1), frames = in.frames * noise.ratio;
    read(node, in, 0);
    add(node, (frames + 2 * taps) * noise.bands);  // white noise, one filter a band
    return written(node, frames);
  }
  Flow through(const Node& node, const Quantise& quantise, Flow in) {
    read(node, in, 0);
    const std::int64_t widest = std::int64_t{node.in_channels} + quantise.quantisers;  // what is left, codes so far
    add(node, in.frames * quantise.quantisers * widest + 8 * std::int64_t{quantise.codes});
    return written(node, in.frames);
  }
  template <typename Op>
  Flow through(const Node& node, const Op&, Flow in) {
    read(node, in, 0);
    return written(node, in.frames);
  }

  Flow written(const Node& node, std::int64_t frames) {
    add(node, frames * node.out_channels);
    return {frames, 0};
  }

  std::int64_t floats_ = 0;
};

}  // namespace

void check_memory(const Graph& graph) {
  Meter meter;
  Flow flow{graph.info.hop_samples, 0};
  for (const Node* part : {&graph.front, &graph.latent, &graph.completion, &graph.back}) {
    flow = meter.through(*part, flow);
  }
  meter.read(graph.back, flow, 0);
  if (!graph.prior) return;
  const Prior& prior = *graph.prior;
  const std::int64_t rows = std::int64_t{3} * prior.quantisers * prior.quantisers;  // heard, drawn, given
  meter.add(prior.network, rows + 2 * std::int64_t{prior.codes});
  meter.read(prior.network, meter.through(prior.network, {1, 0}), 0);
  for (const auto* latents : {&prior.listen, &prior.speak}) {
    if (*latents) meter.through(**latents, {1, 0});
  }
}

}  // namespace ravel::graph
