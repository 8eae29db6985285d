// Which layers keep up with the audio, and how the rest of a hop is cut into shares of equal cost.
#pragma once

#include <vector>

#include "engine/blueprint.h"

namespace ravel::engine {

// Part of an op: all of it, or for a convolution some panels of some rows.
struct Unit {
  int op = 0;
  int first_panel = 0, last_panel = 0;
  int first_row = 0, last_row = 0;   // results
  bool opens = true, closes = true;  // the first and the last unit of its op in this hop
};

struct Schedule {
  int early = 0;                          // ops before this one run with every slice of the input
  int late = 0;                           // ops from this one on run with every slice of the output
  std::vector<std::vector<Unit>> shares;  // of the core, `core_slices` of them
};

// For a hop in `slices` callbacks whose core is spread over `core_slices`. A pure function of the program.
Schedule schedule(const Program& program, const std::vector<kernels::Weights>& weights, int slices, int core_slices);

// Estimated nanoseconds of an op, good enough to balance shares.
double cost_ns(const Op& op);

}  // namespace ravel::engine
