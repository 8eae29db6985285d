// Cuts a program into stages and shares by estimated cost.
#include "engine/schedule.h"

#include <algorithm>
#include <cmath>

namespace ravel::engine {

namespace {

// A layer follows the audio slice by slice when a slice gives it at least this many rows: with fewer it would read its
// weights more often than the spreading is worth.
constexpr int kFollowingRows = 4;

// Pieces of a share: the finest cut of an op, as a part of a share's cost.
constexpr double kPiecesOfShare = 8;

// One core of a current machine, for the balance between weights and arithmetic only.
constexpr double kBytesPerNs = 20, kFlopsPerNs = 60, kCallNs = 200;

bool follows(const Op& op, int slices) {
  if (op.rows_in % slices != 0 || op.rows_out % slices != 0) return false;
  return op.rows_in / slices % op.down == 0 && op.rows_out / slices >= kFollowingRows;
}

int panels(const Op& op, const std::vector<kernels::Weights>& weights) {
  int total = 0;
  for (const ConvPart& part : op.parts) total += weights[part.weights].panels;
  return total;
}

// The op in pieces of about `piece_ns`: by panels, and by rows where panels alone are too coarse.
std::vector<Unit> cut(const Program& program, int index, const std::vector<kernels::Weights>& weights,
                      double piece_ns) {
  const Op& op = program.ops[index];
  Unit all;
  all.op = index;
  if (op.kind != Op::Kind::conv) return {all};
  const int results = op.rows_out / op.out_step;
  const int count = panels(op, weights);
  const double pieces = std::max(1.0, std::ceil(cost_ns(op) / piece_ns));
  const int columns = static_cast<int>(std::min<double>(count, pieces));
  const int bands = static_cast<int>(std::clamp(std::ceil(pieces / columns), 1.0, std::max(1.0, results / 8.0)));
  std::vector<Unit> units;
  for (int c = 0; c < columns; ++c) {
    for (int b = 0; b < bands; ++b) {
      Unit unit;
      unit.op = index;
      unit.first_panel = count * c / columns;
      unit.last_panel = count * (c + 1) / columns;
      unit.first_row = results * b / bands;
      unit.last_row = results * (b + 1) / bands;
      unit.opens = c == 0 && b == 0;
      unit.closes = c == columns - 1 && b == bands - 1;
      units.push_back(unit);
    }
  }
  return units;
}

}  // namespace

double cost_ns(const Op& op) {
  const double values = double(op.rows_out) * 16;
  return kCallNs + op.weight_bytes / kBytesPerNs + op.flops / kFlopsPerNs + values * 0.1;
}

Schedule schedule(const Program& program, const std::vector<kernels::Weights>& weights, int slices, int core_slices) {
  const int count = static_cast<int>(program.ops.size());
  Schedule plan;
  while (plan.early < count && follows(program.ops[plan.early], slices)) ++plan.early;
  plan.late = count;
  while (plan.late > plan.early && follows(program.ops[plan.late - 1], slices)) --plan.late;

  double total = 0;
  for (int i = plan.early; i < plan.late; ++i) total += cost_ns(program.ops[i]);
  const double share = total / core_slices;
  plan.shares.resize(core_slices);
  double before = 0;
  for (int i = plan.early; i < plan.late; ++i) {
    const auto units = cut(program, i, weights, share / kPiecesOfShare);
    const double each = cost_ns(program.ops[i]) / static_cast<double>(units.size());
    for (const Unit& unit : units) {
      const int at = static_cast<int>((before + each / 2) / share);
      plan.shares[std::clamp(at, 0, core_slices - 1)].push_back(unit);
      before += each;
    }
  }
  return plan;
}

}  // namespace ravel::engine
