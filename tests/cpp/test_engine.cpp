// The engine's laws: any split into hops, any slicing and any number of streams give the same bits.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "drive.h"
#include "engine/blueprint.h"
#include "engine/schedule.h"
#include "ravel/engine.h"
#include "sample_models.h"

using namespace ravel;
using namespace ravel::test;

namespace {

std::shared_ptr<const Model> load(const SampleOptions& options, Isa isa = best_isa()) {
  const auto bytes = every_op(options).bytes();
  return Model::parse(bytes.data(), bytes.size(), isa);
}

// Mono and stereo, fp32 and bf16, snake and leaky, odd widths, some latents filled; codes.
std::vector<std::shared_ptr<const Model>> models(Isa isa = best_isa()) {
  SampleOptions stereo;
  stereo.channels = 2;
  stereo.bands = 8;
  stereo.width = 16;
  stereo.snake = true;
  SampleOptions bf16;
  bf16.bf16 = true;
  bf16.width = 8;
  bf16.strides = {4, 2};
  SampleOptions codes;
  codes.sphere = true;
  codes.quantisers = 3;
  codes.codes = 21;  // no multiple of a panel
  SampleOptions labels;
  labels.labels = 3;
  return {load({}, isa), load(stereo, isa), load(bf16, isa), load(codes, isa), load(labels, isa)};
}

constexpr Method kMethods[] = {Method::forward, Method::encode, Method::decode};

}  // namespace

TEST_CASE("a sound model proves itself on every instruction set") {
  for (const Isa isa : supported_isas()) {
    CAPTURE(name(isa));
    for (const auto& model : models(isa)) {
      for (const double error : model->selftest()) CHECK(error <= (model->info().bf16_weights ? 2e-2 : 1e-5));
    }
  }
}

TEST_CASE("any split into whole hops gives the same bits") {
  for (const Isa isa : supported_isas()) {
    for (const auto& model : models(isa)) {
      for (const Method method : kMethods) {
        const Audio x = input(*model, method, 1, 13);
        Engine one(model, method);
        const Audio want = run(one, *model, method, x, std::vector<int>(13, 1));
        for (const std::vector<int>& blocks : {std::vector<int>{13}, {1, 2, 3, 4, 3}, {4, 4, 4, 1}}) {
          Engine many(model, method, {1, 13, 0, 1});
          CHECK(run(many, *model, method, x, blocks) == want);
        }
      }
    }
  }
}

TEST_CASE("another input, or a hop left out, gives other samples") {
  const auto model = load({});
  for (const Method method : kMethods) {
    Engine engine(model, method);
    const Audio a = run(engine, *model, method, input(*model, method, 1, 3), {1, 1, 1});
    engine.reset();
    const Audio b = run(engine, *model, method, input(*model, method, 1, 3, 8), {1, 1, 1});
    CHECK(a != b);
    // without its past a hop sounds otherwise, so the splits above test the histories
    engine.reset();
    Audio last = input(*model, method, 1, 3);
    for (auto& row : last) row.erase(row.begin(), row.begin() + 2 * engine.in_frames());
    const Audio alone = run(engine, *model, method, last, {1});
    CHECK(!std::equal(alone[0].begin(), alone[0].end(), a[0].begin() + 2 * engine.out_frames()));
  }
}

TEST_CASE("streams side by side give the bits that each gives alone") {
  SampleOptions options;
  options.noise = false;  // a stream's noise is its own, as in a batch of the script
  for (const Isa isa : supported_isas()) {
    const auto model = load(options, isa);
    for (const Method method : kMethods) {
      const int streams = 5;
      const Audio x = input(*model, method, streams, 6);
      Engine all(model, method, {streams, 2, 0, 1});
      const Audio together = run(all, *model, method, x, {2, 1, 2, 1});
      const int ins = static_cast<int>(x.size()) / streams, outs = static_cast<int>(together.size()) / streams;
      for (int s = 0; s < streams; ++s) {
        Engine one(model, method);
        const Audio mine(x.begin() + s * ins, x.begin() + (s + 1) * ins);
        const Audio alone = run(one, *model, method, mine, std::vector<int>(6, 1));
        CHECK(alone == Audio(together.begin() + s * outs, together.begin() + (s + 1) * outs));
      }
    }
  }
}

TEST_CASE("slices give the bits of whole hops, for every count and every spread of the core") {
  for (const auto& model : models()) {
    const int hop = model->info().hop_samples;
    for (const Method method : kMethods) {
      const int hops = 7;
      for (const int streams : {1, 3}) {
        const Audio x = input(*model, method, streams, hops);
        Engine whole(model, method, {streams, 1, 0, 1});
        const Audio want = run(whole, *model, method, x, std::vector<int>(hops, 1));
        for (int slices = 1; slices <= hop; ++slices) {
          if (hop % slices != 0) continue;
          for (int core = 1; core <= slices; ++core) {
            CAPTURE(slices);
            CAPTURE(core);
            Engine engine(model, method, {streams, 1, slices, core});
            const Audio got = run_sliced(engine, *model, method, x, hops);
            REQUIRE(got[0].size() >= std::size_t((hops - 2) * engine.out_frames()));
            CHECK(got == first_frames(want, got[0].size()));
            engine.reset();
            CHECK(run_sliced(engine, *model, method, x, hops) == got);
          }
        }
      }
    }
  }
}

TEST_CASE("reset forgets, the seed repeats, controls act") {
  const auto model = load({});
  const Audio x = input(*model, Method::forward, 1, 4);
  const std::vector<int> blocks(4, 1);
  Engine engine(model, Method::forward);
  const Audio first = run(engine, *model, Method::forward, x, blocks);
  CHECK(run(engine, *model, Method::forward, x, blocks) != first);
  engine.reset();
  CHECK(run(engine, *model, Method::forward, x, blocks) == first);
  const auto again = [&](auto&& turn) {
    Engine other(model, Method::forward);
    turn(other);
    return run(other, *model, Method::forward, x, blocks);
  };
  CHECK(again([](Engine&) {}) == first);
  CHECK(again([](Engine& e) { e.set_seed(1); }) != first);
  CHECK(again([](Engine& e) { e.set_seed(1), e.set_seed(0); }) == first);
  CHECK(again([](Engine& e) { e.set_noise(false); }) != first);
  CHECK(again([](Engine& e) { e.set_temperature(1); }) != first);
  CHECK(again([](Engine& e) { e.set_fill(1); }) != first);
  CHECK(again([](Engine& e) { e.set_scale(0, 2); }) != first);
  CHECK(again([](Engine& e) { e.set_bias(1, 0.5f); }) != first);
  CHECK(again([](Engine& e) { e.set_scale(-1, 2), e.set_bias(1000, 1); }) == first);
  // a new seed in the middle: once the layers after the noise have forgotten the old one, nothing tells it apart
  Engine late(model, Method::decode), early(model, Method::decode);
  const Audio z = input(*model, Method::decode, 1, 6);
  const std::vector<int> hops(6, 1);
  run(late, *model, Method::decode, z, hops);
  late.set_seed(5);
  early.set_seed(5);
  run(early, *model, Method::decode, z, hops);
  CHECK(run(late, *model, Method::decode, z, hops) != run(early, *model, Method::decode, z, hops));
  CHECK(run(late, *model, Method::decode, z, hops) == run(early, *model, Method::decode, z, hops));
}

TEST_CASE("labels: the first plays, only the decoder hears them, a blend lies between at the bias") {
  SampleOptions options;
  options.labels = 3;
  const auto model = load(options);
  const auto plays = [&](Method method, std::vector<float> weights, std::shared_ptr<const Model> m = nullptr) {
    if (!m) m = model;
    Engine engine(m, method, {.max_hops = 4});
    for (std::size_t i = 0; i < weights.size(); ++i) engine.set_label_weight(static_cast<int>(i), weights[i]);
    return run(engine, *m, method, input(*m, method, 1, 8), {1, 4, 3});
  };
  const Audio first = plays(Method::forward, {});
  CHECK(first == plays(Method::forward, {1, 0, 0}));
  CHECK(first != plays(Method::forward, {0, 1, 0}));
  CHECK(plays(Method::encode, {}) == plays(Method::encode, {0, 1, 0}));
  // out of range: ignored
  Engine engine(model, Method::forward);
  engine.set_label_weight(-1, 5), engine.set_label_weight(3, 5);
  CHECK(run(engine, *model, Method::forward, input(*model, Method::forward, 1, 8), std::vector<int>(8, 1)) == first);

  // tables: rows exchanged are labels exchanged; a row that is a blend is the blend
  SampleFile file = every_op(options);
  auto& table = file.tensor("decoder.condition.table").values;
  const std::size_t width = table.size() / 3;
  const std::vector<float> was = table;
  for (std::size_t c = 0; c < width; ++c) {
    table[c] = was[width + c];
    table[width + c] = was[c];
    table[2 * width + c] = 0.25F * was[c] + 0.75F * was[width + c];
  }
  const auto bytes = file.bytes();
  const auto changed = Model::parse(bytes.data(), bytes.size());
  CHECK(plays(Method::forward, {0, 1, 0}, changed) == first);
  CHECK(plays(Method::forward, {1, 0, 0}, changed) == plays(Method::forward, {0, 1, 0}));
  const Audio blend = plays(Method::forward, {0.25F, 0.75F, 0}), row = plays(Method::forward, {0, 0, 1}, changed);
  for (std::size_t t = 0; t < row[0].size(); ++t) CHECK(row[0][t] == doctest::Approx(blend[0][t]).epsilon(1e-4));
}

TEST_CASE("decode of encode is forward") {
  for (const auto& model : models()) {
    const Audio x = input(*model, Method::forward, 2, 5);
    const std::vector<int> blocks(5, 1);
    const Settings settings{2, 1, 0, 1};
    Engine forward(model, Method::forward, settings), encode(model, Method::encode, settings),
        decode(model, Method::decode, settings);
    const Audio z = run(encode, *model, Method::encode, x, blocks);
    CHECK(run(decode, *model, Method::decode, z, blocks) == run(forward, *model, Method::forward, x, blocks));
  }
}

TEST_CASE("NaN and infinity count as silence and leave no trace") {
  const auto model = load({});
  Audio x = input(*model, Method::forward, 1, 4), clean = x;
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 3; ++i) {
    x[0][5 + i] = bad[i];
    clean[0][5 + i] = 0;
  }
  Engine a(model, Method::forward), b(model, Method::forward);
  const std::vector<int> blocks(4, 1);
  CHECK(run(a, *model, Method::forward, x, blocks) == run(b, *model, Method::forward, clean, blocks));
}

TEST_CASE("settings that do not fit are refused with their numbers") {
  const auto model = load({});
  const int hop = model->info().hop_samples;
  CHECK_THROWS_WITH_AS(Engine(model, Method::forward, {0, 1, 0, 1}), "engine: streams: 1 to 1024, got 0", Error);
  CHECK_THROWS_AS(Engine(model, Method::forward, {1, 0, 0, 1}), Error);
  CHECK_THROWS_AS(Engine(model, Method::forward, {1, 1, hop * 2, 1}), Error);
  CHECK_THROWS_AS(Engine(model, Method::forward, {1, 1, 2, 3}), Error);
  CHECK_THROWS_AS(Engine(model, Method::forward, {1, 1, -2, 1}), Error);
}

TEST_CASE("a schedule runs every panel and row of the core once, in order, in shares of about equal cost") {
  SampleOptions wide;
  wide.bands = 16;
  wide.width = 64;
  wide.strides = {4, 4, 2};
  const auto model = load(wide);
  const auto& blueprint = model->blueprint();
  const auto& program = blueprint.programs[0];
  for (const int slices : {8, 32}) {
    for (const int core : {1, 3, slices}) {
      const engine::Schedule plan = engine::schedule(program, blueprint.weights, slices, core);
      REQUIRE(static_cast<int>(plan.shares.size()) == core);
      int op = plan.early - 1;
      double total = 0;
      std::vector<double> loads;
      std::vector<double> area(program.ops.size(), 0);
      for (const auto& share : plan.shares) {
        double load = 0;
        for (const engine::Unit& unit : share) {
          if (unit.opens) CHECK(unit.op == ++op);
          CHECK(unit.op == op);
          const auto& o = program.ops[unit.op];
          double part = 1;
          if (o.kind == engine::Op::Kind::conv) {
            const int rows = o.rows_out / o.out_step;
            int panels = 0;
            for (const auto& p : o.parts) panels += blueprint.weights[p.weights].panels;
            part =
                double(unit.last_panel - unit.first_panel) * (unit.last_row - unit.first_row) / (double(panels) * rows);
          }
          area[unit.op] += part;
          load += part * engine::cost_ns(o);
        }
        total += load;
        loads.push_back(load);
      }
      CHECK(op == plan.late - 1);
      for (int i = plan.early; i < plan.late; ++i) CHECK(area[i] == doctest::Approx(1));
      for (const double load : loads) CHECK(load <= 1.8 * total / core);
    }
  }
}
