// What a graph must give: every layer in float64 over the whole signal, straight from its definition.
#pragma once

#include <vector>

#include "model/graph.h"

namespace ravel::test {

using Signal = std::vector<std::vector<double>>;  // channels, frames

// From silence, the first stream, seed 0, noise on, temperature 0, fill 0.
Signal reference(const graph::Node& node, const Signal& x);

// What a prior plays by itself: frames of numbers, late by quantisers - 1 of them. It hears `frames` (as many numbers or
// fewer, -1 for none) with the probability 1 - amount.
Signal alone(const graph::Prior& prior, const Signal& frames, int hops, double amount, double temperature);

Signal signal(const std::vector<float>& values, int channels);  // (channels, frames)
std::vector<float> flat(const Signal& x);

}  // namespace ravel::test
