// Modes and latencies as pure functions.
#include "player/timing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/blueprint.h"
#include "engine/schedule.h"

namespace ravel::player {

namespace {

// Automatic: a hop may take this share of its block in one go. The estimate is 3 to 4 times what one core of a current
// machine takes (`low`: 1.12 ms against 0.3), which leaves a slower one room.
constexpr double kInlineShare = 1;

// Blocks looked at for the largest lack before a bound takes its place; odd rates have long periods.
constexpr std::int64_t kMostBlocks = 1 << 18;

double hop_ns(const Model& model, Method method, int streams) {
  double total = 0;
  for (const engine::Op& op : model.blueprint().programs[static_cast<std::size_t>(method)].ops) {
    total += engine::cost_ns(op);
  }
  return total * streams;
}

int largest_divisor(int of, double at_most) {
  int best = 1;
  for (int d = 1; d <= of && d <= at_most; ++d) {
    if (of % d == 0) best = d;
  }
  return best;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }

}  // namespace

Rates::Rates(double model_hz, double host_hz) {
  const auto in_millihertz = [](double hz) { return static_cast<std::int64_t>(std::llround(hz * 1000)); };
  model = in_millihertz(model_hz);
  host = in_millihertz(host_hz);
  const std::int64_t common = std::gcd(model, host);
  model /= common;
  host /= common;
}

Schedule schedule(const Model& model, Method method, int streams, const Host& host, Mode wanted, int core_slices) {
  const int hop = model.info().hop_samples;
  const int block = host.fixed_block > 0 ? host.fixed_block : host.max_block;
  const double block_samples = block * sample_rate(model, host) / host.sample_rate_hz;  // of the model
  Schedule plan;
  if (model.info().script) {
    plan.mode = Mode::threaded;
    plan.hops = model.info().call_hops;
    plan.quantum = plan.hops * hop;
    return plan;
  }
  plan.mode = wanted;
  plan.quantum = hop;
  if (wanted == Mode::automatic) {
    const double hops = std::max(1.0, block_samples / hop);
    const double deadline_ns = 1e9 * block / host.sample_rate_hz;
    plan.mode = hops * hop_ns(model, method, streams) <= kInlineShare * deadline_ns ? Mode::inline_ : Mode::sliced;
  }
  if (plan.mode != Mode::sliced) return plan;
  plan.quantum = largest_divisor(hop, block_samples);
  plan.slices = hop / plan.quantum;
  plan.core_slices = core_slices > 0 ? std::min(core_slices, plan.slices) : plan.slices;
  if (plan.slices == 1) plan = {Mode::inline_, 0, 1, hop};
  return plan;
}

double sample_rate(const Model& model, const Host& host) noexcept {
  return model.info().sample_rate_hz > 0 ? model.info().sample_rate_hz : host.sample_rate_hz;
}

double lack(const Path& path) {
  const std::int64_t model = path.rates.model, host = path.rates.host, b = path.block, q = path.quantum;
  const double constant = (path.delay + path.look_ahead_out) / path.rates.model_per_host();
  const auto at = [&](std::int64_t n) {  // host samples brought
    const std::int64_t before = n - path.look_ahead_in;
    const std::int64_t in = path.look_ahead_in > 0 ? ceil_div(before * model, host) : n * model / host;
    const std::int64_t out = std::max<std::int64_t>(0, (in - path.hold_back) / q * q);
    return static_cast<double>(n - 1) - static_cast<double>(out) * host / model;
  };
  const std::int64_t period = q * host / std::gcd(b * model, q * host);
  const std::int64_t start = (path.look_ahead_in + path.hold_back * host / model + q * host / model) / b + 2;
  if (period + start <= kMostBlocks) {
    double most = at(b);
    for (std::int64_t k = 2; k <= start + period; ++k) most = std::max(most, at(k * b));
    return most + constant;
  }
  const double samples = static_cast<double>(path.hold_back + q - 1 + (path.look_ahead_in > 0 ? 0 : 1));
  return samples / path.rates.model_per_host() + std::max(0, path.look_ahead_in - 1) + constant;
}

}  // namespace ravel::player
