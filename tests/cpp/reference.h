// What a graph must give: every layer in float64 over the whole signal, straight from its definition.
#pragma once

#include <vector>

#include "model/graph.h"

namespace ravel::test {

using Signal = std::vector<std::vector<double>>;  // channels, frames

// From silence, the first stream, seed 0, noise on, temperature 0, fill 0.
Signal reference(const graph::Node& node, const Signal& x);

Signal signal(const std::vector<float>& values, int channels);  // (channels, frames)
std::vector<float> flat(const Signal& x);

}  // namespace ravel::test
