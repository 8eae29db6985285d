// How much memory a stream of a graph needs, bounded before anything is allocated for it.
#pragma once

#include "graph.h"

namespace ravel::graph {

// Throws Error, naming the node at which the histories and the activations of a hop exceed 256 MB.
void check_memory(const Graph& graph);

}  // namespace ravel::graph
