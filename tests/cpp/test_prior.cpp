// A prior in the engine: it draws what its definition says, hears what is played, and costs nothing where it is off.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "drive.h"
#include "engine/blueprint.h"
#include "model/graph.h"
#include "reference.h"
#include "sample_models.h"

using namespace ravel;
using namespace ravel::test;

namespace {

struct Sample {
  explicit Sample(const SampleOptions& options)
      : bytes(every_op(options).bytes()), graph(graph::read(bytes.data(), bytes.size())) {}

  std::shared_ptr<const Model> load(Isa isa = best_isa()) const {
    return Model::parse(bytes.data(), bytes.size(), isa);
  }

  Sample(Sample&&) = default;

  std::vector<std::byte> bytes;
  graph::Graph graph;  // its tensors lie in the bytes
};

// Codes, and continuous latents: fewer of both are played than the prior knows.
const SampleOptions kCodes{.bands = 2, .width = 2, .quantisers = 3, .codes = 21, .prior = 5};
const SampleOptions kLatents{.channels = 2, .bands = 2, .width = 2, .kept = 3, .codes = 7, .prior = 4};

const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = [] {
    std::vector<Sample> made;
    for (const SampleOptions& options : {kCodes, kLatents}) made.emplace_back(options);
    return made;
  }();
  return all;
}

constexpr Method kPlayed[] = {Method::forward, Method::decode};
constexpr int kReach = 1 + 1 + 2 + 4;  // rows that the network of a sample hears

// What `decode` is given: latents, or numbers from "none" to beyond the last code.
Audio frames(const Model& model, int streams, int hops, unsigned seed = 3) {
  Audio z = input(model, Method::decode, streams, hops, seed);
  if (model.info().quantisers == 0) return z;
  for (auto& row : z) {
    for (float& v : row) v = std::floor((v + 1) / 2 * static_cast<float>(model.info().codes + 2)) - 1;
  }
  return z;
}

Audio given(const Model& model, Method method, int streams, int hops, unsigned seed = 3) {
  return method == Method::decode ? frames(model, streams, hops, seed) : input(model, method, streams, hops, seed);
}

Audio turned_down(int streams, int hops, float by) { return Audio(streams, std::vector<float>(hops, by)); }

// A call hop by hop at a fixed amount, from reset.
Audio played(const std::shared_ptr<const Model>& model, Method method, const Audio& x, int hops, float amount) {
  Engine engine(model, method);
  engine.set_prior(amount);
  return run(engine, *model, method, x, std::vector<int>(hops, 1));
}

// The latents that the hook sees.
Audio shaped(const std::shared_ptr<const Model>& model, const Audio& z, int hops, float amount) {
  Audio seen(model->info().latents);
  Engine engine(model, Method::decode);
  engine.set_prior(amount);
  engine.set_latent_hook({&seen, [](void* self, float* row, int latents, int) noexcept {
                            for (int i = 0; i < latents; ++i) (*static_cast<Audio*>(self))[i].push_back(row[i]);
                          }});
  run(engine, *model, Method::decode, z, std::vector<int>(hops, 1));
  return seen;
}

Signal signal_of(const Audio& x) {
  Signal y;
  for (const auto& row : x) y.emplace_back(row.begin(), row.end());
  return y;
}

void check_close(const Audio& got, const Signal& want) {
  REQUIRE(got.size() == want.size());
  for (std::size_t c = 0; c < got.size(); ++c) {
    REQUIRE(got[c].size() == want[c].size());
    for (std::size_t n = 0; n < got[c].size(); ++n) {
      CAPTURE(n);
      CHECK(got[c][n] == doctest::Approx(want[c][n]).epsilon(1e-5).scale(1));
    }
  }
}

// Numbers as the decoder takes them: the first of them, or latents.
Signal spoken(const Sample& sample, Signal numbers) {
  const auto& speak = sample.graph.prior->speak;
  numbers.resize(static_cast<std::size_t>((speak ? *speak : sample.graph.completion).in_channels));
  return speak ? reference(*speak, numbers) : numbers;
}

}  // namespace

TEST_CASE("prior: it draws what its definition says, on every instruction set") {
  for (const Sample& sample : samples()) {
    for (const Isa isa : supported_isas()) {
      CAPTURE(name(isa));
      const auto model = sample.load(isa);
      for (const double error : model->selftest()) CHECK(error <= 1e-5);
      const int hops = 40;
      for (const float temperature : {0.0F, 0.5F, 1.0F, 3.0F}) {
        CAPTURE(temperature);
        Engine engine(model, Method::prior);
        engine.set_prior_temperature(temperature);
        const Audio got = run(engine, *model, Method::prior, turned_down(1, hops, 0), std::vector<int>(hops, 1));
        check_close(got, spoken(sample, alone(*sample.graph.prior, {}, hops, 1, temperature)));
        // what comes in is added
        Engine warmer(model, Method::prior);
        warmer.set_prior_temperature(0);
        CHECK(run(warmer, *model, Method::prior, turned_down(1, hops, temperature), std::vector<int>(hops, 1)) == got);
      }
    }
  }
}

TEST_CASE("prior: draws are neither all the same nor deaf to seed and temperature") {
  const auto model = samples()[0].load();
  const int hops = 60;
  const auto draws = [&](std::int64_t seed, float temperature) {
    Engine engine(model, Method::prior);
    engine.set_seed(seed);
    engine.set_prior_temperature(temperature);
    return run(engine, *model, Method::prior, turned_down(1, hops, 0), std::vector<int>(hops, 1));
  };
  const Audio first = draws(0, 1);
  CHECK(draws(0, 1) == first);
  CHECK(draws(1, 1) != first);
  CHECK(draws(0, 0) != first);
  CHECK(draws(1, 0) == draws(0, 0));
  for (const auto& row : first) CHECK(std::set<float>(row.begin(), row.end()).size() > 4);
}

TEST_CASE("prior: in the middle it is the blend that its definition says") {
  const int hops = 40;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    const Audio z = frames(*model, 1, hops);
    const Signal mine = signal_of(z);
    Signal numbers = sample.graph.prior->listen ? reference(*sample.graph.prior->listen, mine) : mine;
    const double last = sample.graph.prior->codes - 1;
    for (auto& row : numbers) {
      for (double& v : row) v = std::min(v, last);
    }
    const auto latents = [&](const Signal& x) {  // as the hook sees them
      return sample.graph.prior->speak ? x : reference(sample.graph.completion, x);
    };
    for (const float amount : {0.0F, 0.3F, 0.8F, 1.0F}) {
      CAPTURE(amount);
      const Signal theirs = latents(spoken(sample, alone(*sample.graph.prior, numbers, hops, amount, 1)));
      Signal want = latents(sample.graph.prior->speak ? mine : numbers);
      for (std::size_t c = 0; c < want.size(); ++c) {
        for (std::size_t n = 0; n < want[c].size(); ++n) want[c][n] += amount * (theirs[c][n] - want[c][n]);
      }
      check_close(shaped(model, z, hops, amount), want);
    }
  }
}

TEST_CASE("prior: any split into hops and any slicing give the same bits") {
  const int hops = 13;
  for (const Sample& sample : samples()) {
    for (const Isa isa : supported_isas()) {
      const auto model = sample.load(isa);
      for (const Method method : {Method::forward, Method::decode, Method::prior}) {
        for (const float amount : {0.0F, 0.5F, 1.0F}) {
          const Audio x = given(*model, method, 2, hops);
          const auto with = [&](const Settings& settings) {
            Engine engine(model, method, settings);
            engine.set_prior(amount);
            return engine;
          };
          Engine one = with({2, 1, 0, 1});
          const Audio want = run(one, *model, method, x, std::vector<int>(hops, 1));
          for (const std::vector<int>& blocks : {std::vector<int>{13}, {1, 2, 3, 4, 3}, {3, 4, 4, 2}}) {
            Engine many = with({2, 13, 0, 1});
            CHECK(run(many, *model, method, x, blocks) == want);
            Engine four = with({2, 4, 0, 1});
            if (blocks.size() > 1) CHECK(run(four, *model, method, x, blocks) == want);
          }
          for (const Settings& settings : {Settings{2, 1, 1, 1}, {2, 1, 4, 1}, {2, 1, 4, 3}, {2, 1, 8, 8}}) {
            Engine slices = with(settings);
            const Audio got = run_sliced(slices, *model, method, x, hops);
            REQUIRE(got[0].size() >= std::size_t((hops - 2) * slices.out_frames()));
            CHECK(got == first_frames(want, got[0].size()));
            slices.reset();
            CHECK(run_sliced(slices, *model, method, x, hops) == got);
          }
        }
      }
    }
  }
}

TEST_CASE("prior: the first of several streams is the one that plays alone, the others go their own ways") {
  const int hops = 30;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    const auto outs = static_cast<std::ptrdiff_t>(model->info().method(Method::prior).out_channels);
    Engine one(model, Method::prior), three(model, Method::prior, {3, 2, 0, 1});
    const Audio alone = run(one, *model, Method::prior, turned_down(1, hops, 0), std::vector<int>(hops, 1));
    const Audio all = run(three, *model, Method::prior, turned_down(3, hops, 0), std::vector<int>(hops / 2, 2));
    CHECK(Audio(all.begin(), all.begin() + outs) == alone);
    CHECK(Audio(all.begin() + outs, all.begin() + 2 * outs) != alone);
  }
}

TEST_CASE("prior: at 0 the model plays what it plays without one, to the bit") {
  const int hops = 12;
  for (SampleOptions options : {kCodes, kLatents}) {
    const auto with = Sample(options).load();
    options.prior = 0;
    const auto without = Sample(options).load();
    for (const Method method : {Method::forward, Method::encode, Method::decode}) {
      const Audio x = given(*with, method, 1, hops);
      CHECK(played(with, method, x, hops, 0) == played(without, method, x, hops, 0));
      if (method != Method::encode) CHECK(played(with, method, x, hops, 0.01F) != played(without, method, x, hops, 0));
    }
    CHECK_THROWS_WITH_AS(
        Engine(without, Method::prior),
        "engine: sample has no method prior; `ravel train-prior` teaches one, and an export after it takes it along",
        Error);
  }
}

TEST_CASE("prior: at 1 nothing of the input is heard, below it is") {
  const int hops = 20;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    for (const Method method : kPlayed) {
      const Audio a = given(*model, method, 1, hops, 3), b = given(*model, method, 1, hops, 4);
      CHECK(played(model, method, a, hops, 1) == played(model, method, b, hops, 1));
      CHECK(played(model, method, a, hops, 0.99F) != played(model, method, b, hops, 0.99F));
    }
    // it is what the method `prior` plays
    Engine alone(model, Method::prior), decode(model, Method::decode);
    const Audio z = run(alone, *model, Method::prior, turned_down(1, hops, 0), std::vector<int>(hops, 1));
    const Audio y = run(decode, *model, Method::decode, z, std::vector<int>(hops, 1));
    CHECK(played(model, Method::decode, frames(*model, 1, hops), hops, 1) == y);
  }
}

TEST_CASE("prior: turned off it forgets, turned on it has the draws of its place") {
  const int before = 20, hops = 20;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    const int rest = kReach + sample.graph.prior->quantisers;
    const auto plays_late = [&](float first) {
      Engine engine(model, Method::decode);
      const auto go = [&](float amount, int count) {
        engine.set_prior(amount);
        return run(engine, *model, Method::decode, frames(*model, 1, count), std::vector<int>(count, 1));
      };
      go(first, before);
      go(0, rest);
      go(0, 40);  // the decoder's histories
      return go(1, hops);
    };
    CHECK(plays_late(1) == plays_late(0));
    CHECK(plays_late(0) != played(model, Method::decode, frames(*model, 1, hops), hops, 1));  // at its start
  }
}

TEST_CASE("prior: what it heard is where it goes on from") {
  const int hops = 24;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    const auto goes_on = [&](unsigned seed, float amount) {
      Audio latents(model->info().latents);
      Engine engine(model, Method::decode);
      engine.set_prior_temperature(0);
      engine.set_prior(amount);
      run(engine, *model, Method::decode, frames(*model, 1, hops, seed), std::vector<int>(hops, 1));
      engine.set_prior(1);
      engine.set_latent_hook({&latents, [](void* self, float* row, int count, int) noexcept {
                                for (int i = 0; i < count; ++i) (*static_cast<Audio*>(self))[i].push_back(row[i]);
                              }});
      run(engine, *model, Method::decode, frames(*model, 1, hops), std::vector<int>(hops, 1));
      return latents;
    };
    CHECK(goes_on(3, 0.001F) != goes_on(4, 0.001F));
    CHECK(goes_on(3, 1) == goes_on(4, 1));
  }
}

TEST_CASE("prior: scale, bias and hook shape what it plays") {
  const int hops = 12;
  for (const Sample& sample : samples()) {
    const auto model = sample.load();
    const Audio z = frames(*model, 1, hops);
    Engine engine(model, Method::decode);
    engine.set_prior(1);
    const Audio plain = run(engine, *model, Method::decode, z, std::vector<int>(hops, 1));
    engine.reset();
    engine.set_scale(1, 2);
    CHECK(run(engine, *model, Method::decode, z, std::vector<int>(hops, 1)) != plain);
  }
}
