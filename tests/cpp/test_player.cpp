// The player's laws: blocks do not matter, latency is what it says, nothing that goes in or is turned makes a click.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "player/timing.h"
#include "ravel/engine.h"
#include "ravel/player.h"
#include "sample_models.h"

using namespace ravel;

namespace {

using Audio = std::vector<std::vector<float>>;  // channels, frames
using ModelPointer = std::shared_ptr<const Model>;

constexpr Method kMethods[] = {Method::forward, Method::encode, Method::decode};
constexpr Mode kModes[] = {Mode::inline_, Mode::sliced, Mode::threaded};

ModelPointer parsed(const test::SampleFile& file) {
  const auto bytes = file.bytes();
  return Model::parse(bytes.data(), bytes.size());
}

ModelPointer echo(const test::EchoOptions& options = {}) { return parsed(test::echo(options)); }

ModelPointer every_op(int channels = 1) {
  test::SampleOptions options;
  options.channels = channels;
  return parsed(test::every_op(options));
}

Audio noise(int channels, int frames, unsigned seed = 7, float size = 0.5F) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-size, size);
  Audio x(static_cast<std::size_t>(channels), std::vector<float>(static_cast<std::size_t>(frames)));
  for (auto& row : x) std::generate(row.begin(), row.end(), [&] { return value(random); });
  return x;
}

// Blocks that sum to `frames`.
std::vector<int> random_blocks(int frames, int most, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> blocks;
  for (int left = frames; left > 0; left -= blocks.back()) {
    const int limit = random() % 3 == 0 ? 4 : most;  // many tiny ones
    blocks.push_back(std::min(left, 1 + static_cast<int>(random() % static_cast<unsigned>(limit))));
  }
  return blocks;
}

std::vector<int> blocks_of(int frames, int block) {
  return std::vector<int>(static_cast<std::size_t>(frames / block), block);
}

// Frames `from` .. `from + count - 1` of all rows.
std::vector<const float*> rows(const Audio& x, int from) {
  std::vector<const float*> at;
  for (const auto& row : x) at.push_back(row.data() + from);
  return at;
}
std::vector<float*> rows(Audio& x, int from) {
  std::vector<float*> at;
  for (auto& row : x) at.push_back(row.data() + from);
  return at;
}

Audio play(Player& player, const Audio& x, int out_channels, const std::vector<int>& blocks) {
  const int frames = std::accumulate(blocks.begin(), blocks.end(), 0);
  Audio y(static_cast<std::size_t>(out_channels), std::vector<float>(static_cast<std::size_t>(frames), -7.0F));
  int at = 0;
  for (const int block : blocks) {
    player.process(rows(x, at).data(), rows(y, at).data(), block);
    at += block;
  }
  return y;
}

struct Setup {
  Method method = Method::forward;
  Mode mode = Mode::inline_;
  double rate_hz = 44100;
  int in_channels = 1, out_channels = 1;
  int fixed_block = 0, max_block = 512;
  bool offline = true;
  int core_slices = 0;
};

std::unique_ptr<Player> prepared(const ModelPointer& model, const Setup& s) {
  auto player = std::make_unique<Player>(s.method);
  if (model) player->load(model);
  player->set_mode(s.mode, s.core_slices);
  Host host;
  host.sample_rate_hz = s.rate_hz;
  host.max_block = s.max_block;
  host.fixed_block = s.fixed_block;
  host.in_channels = s.in_channels;
  host.out_channels = s.out_channels;
  host.offline = s.offline;
  player->prepare(host);
  CHECK(player->take_message().empty());
  return player;
}

// A setup with as many channels as `streams` of the model have.
Setup fitting(const ModelPointer& model, Method method, int streams = 1) {
  const MethodInfo& info = model->info().method(method);
  Setup s;
  s.method = method;
  s.rate_hz = model->info().sample_rate_hz;
  s.in_channels = streams * info.in_channels;
  s.out_channels = streams * info.out_channels;
  return s;
}

double difference(const Audio& a, const Audio& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t c = 0; c < a.size(); ++c) {
    REQUIRE(a[c].size() == b[c].size());
    for (std::size_t t = 0; t < a[c].size(); ++t) worst = std::max(worst, std::abs(double(a[c][t]) - b[c][t]));
  }
  return worst;
}

float peak(const Audio& x) {
  float most = 0;
  for (const auto& row : x) {
    for (const float v : row) most = std::max(most, std::abs(v));
  }
  return most;
}

// x, `by` frames later (earlier where below 0), as long.
Audio shifted(const Audio& x, int by) {
  Audio y = x;
  for (std::size_t c = 0; c < x.size(); ++c) {
    const int n = static_cast<int>(x[c].size());
    for (int t = 0; t < n; ++t)
      y[c][static_cast<std::size_t>(t)] = t - by >= 0 && t - by < n ? x[c][static_cast<std::size_t>(t - by)] : 0.0F;
  }
  return y;
}

Audio part(const Audio& x, int from, int to) {
  Audio y;
  for (const auto& row : x) y.emplace_back(row.begin() + from, row.begin() + to);
  return y;
}

// What the engine makes of whole hops.
Audio engine_output(const ModelPointer& model, Method method, int streams, const Audio& x) {
  Engine engine(model, method, {streams, 1});
  const MethodInfo& info = model->info().method(method);
  const int hops = static_cast<int>(x.front().size()) / engine.in_frames();
  Audio y(static_cast<std::size_t>(streams * info.out_channels),
          std::vector<float>(static_cast<std::size_t>(hops * engine.out_frames())));
  for (int h = 0; h < hops; ++h)
    engine.process(rows(x, h * engine.in_frames()).data(), rows(y, h * engine.out_frames()).data(), 1);
  return y;
}

// By how much y is later than x, to a small part of a sample: the peak of their correlation, by a parabola.
double lateness(const std::vector<float>& x, const std::vector<float>& y, int about, int reach = 6) {
  std::vector<double> sums;
  for (int lag = about - reach; lag <= about + reach; ++lag) {
    double sum = 0;
    for (int t = std::max(0, lag); t < static_cast<int>(y.size()); ++t)
      sum += double(y[static_cast<std::size_t>(t)]) * x[static_cast<std::size_t>(t - lag)];
    sums.push_back(sum);
  }
  const auto best = std::max_element(sums.begin() + 1, sums.end() - 1);
  const double before = best[-1], at = best[0], after = best[1];
  return about - reach + static_cast<double>(best - sums.begin()) + 0.5 * (before - after) / (before - 2 * at + after);
}

// A bell, far below every Nyquist frequency.
std::vector<float> bell(int frames, double middle) {
  std::vector<float> x(static_cast<std::size_t>(frames));
  for (int t = 0; t < frames; ++t)
    x[static_cast<std::size_t>(t)] = static_cast<float>(std::exp(-0.5 * std::pow((t - middle) / 12, 2)));
  return x;
}

}  // namespace

TEST_CASE("blocks do not matter") {
  struct Case {
    ModelPointer model;
    int streams;
  };
  for (const Case& c : {Case{every_op(), 1}, Case{every_op(2), 1}, Case{every_op(), 2}}) {
    for (const Method method : kMethods) {
      for (const Mode mode : kModes) {
        for (const double rate : {44100.0, 48000.0, 22050.0}) {
          const std::string method_name = name(method);
          CAPTURE(method_name);
          const std::string mode_name = name(mode);
          CAPTURE(mode_name);
          CAPTURE(rate);
          CAPTURE(c.streams);
          Setup setup = fitting(c.model, method, c.streams);
          setup.mode = mode;
          setup.rate_hz = rate;
          const Audio x = noise(setup.in_channels, 3000);
          const auto run = [&](const std::vector<int>& blocks) {
            auto player = prepared(c.model, setup);
            player->set(Control::temperature, 0.5F);
            player->set(Control::noise_latent, 0.1F);
            return play(*player, x, setup.out_channels, blocks);
          };
          const Audio one = run({3000});
          CHECK(peak(part(one, 2000, 3000)) > 0.01F);
          CHECK(difference(one, shifted(one, 1)) > 0.001);  // a sample too late is seen
          for (unsigned seed = 1; seed <= 3; ++seed) {
            CHECK(difference(one, run(random_blocks(3000, seed == 1 ? 7 : 700, seed))) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("at the model's rate it is the engine, as late as it says") {
  for (const int channels : {1, 2}) {
    const ModelPointer model = every_op(channels);
    const int hop = model->info().hop_samples;
    for (const Method method : {Method::forward, Method::encode}) {
      for (const Mode mode : kModes) {
        for (const int block : {0, 1, 4, 12, 16, 64, 100}) {
          const std::string method_name = name(method);
          CAPTURE(method_name);
          const std::string mode_name = name(mode);
          CAPTURE(mode_name);
          CAPTURE(block);
          Setup setup = fitting(model, method);
          setup.mode = mode;
          setup.fixed_block = block;
          const int frames = 4800;
          const Audio x = noise(setup.in_channels, frames);
          auto player = prepared(model, setup);
          const Audio y =
              play(*player, x, setup.out_channels, block ? blocks_of(frames, block) : random_blocks(frames, 300, 3));
          const MethodInfo& info = model->info().method(method);
          const int late = player->latency_samples() - info.delay_samples;
          CHECK(late >= 0);
          Audio expected = engine_output(model, method, 1, x);
          if (method == Method::encode) {  // held for a hop
            Audio held(expected.size());
            for (std::size_t i = 0; i < expected.size(); ++i) {
              for (const float v : expected[i]) held[i].insert(held[i].end(), static_cast<std::size_t>(hop), v);
            }
            expected = held;
          }
          CHECK(difference(y, shifted(expected, late)) == 0);
          CHECK(difference(y, shifted(expected, late + 1)) > 0.001);
          if (mode == Mode::inline_ && method == Method::forward) {
            CHECK(late == (block ? hop - std::gcd(hop, block) : hop - 1));
          }
        }
      }
    }
  }
}

TEST_CASE("a prior at the model's rate is the engine's, as late as it says, and its fader is heard") {
  const ModelPointer models[] = {parsed(test::every_op({.quantisers = 2, .codes = 9, .prior = 3})),
                                 parsed(test::every_op({.prior = 4}))};
  for (const ModelPointer& model : models) {
    const int hop = model->info().hop_samples, frames = 4800;
    const auto held = [&](const Audio& x) {
      Audio y(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        for (const float v : x[i]) y[i].insert(y[i].end(), static_cast<std::size_t>(hop), v);
      }
      return y;
    };
    const auto shown = held(engine_output(model, Method::prior, 1, {std::vector<float>(frames / hop)}));
    for (const Mode mode : kModes) {
      for (const int block : {0, 4, 12, 16, 64, 100}) {
        Setup setup = fitting(model, Method::prior);
        setup.mode = mode;
        setup.fixed_block = block;
        const auto blocks = block ? blocks_of(frames, block) : random_blocks(frames, 300, 3);
        auto player = prepared(model, setup);
        const int late = player->latency_samples() - model->info().method(Method::prior).delay_samples;
        const Audio y = play(*player, {std::vector<float>(frames)}, setup.out_channels, blocks);
        CHECK(difference(y, shifted(shown, late)) == 0);
        CHECK(difference(y, shifted(shown, late + 1)) > 0.001);
        auto cold = prepared(model, setup);  // by its inlet
        CHECK(difference(play(*cold, {std::vector<float>(frames, -1.0F)}, setup.out_channels, blocks), y) > 0);
      }
    }
    // what comes in is heard at 0 and not at 1, in every mode alike
    const auto plays = [&](Mode mode, unsigned seed, float amount) {
      auto player = std::make_unique<Player>();
      player->set(Control::prior, amount);  // before it is prepared: no ramp
      player->load(model);
      player->set_mode(mode);
      player->prepare({.sample_rate_hz = 44100, .fixed_block = 16, .offline = true});
      const Audio y = play(*player, noise(1, frames, seed), 1, blocks_of(frames, 16));
      return part(shifted(y, -player->latency_samples()), 0, 2000);
    };
    for (const Mode mode : kModes) {
      CHECK(difference(plays(mode, 1, 1), plays(Mode::inline_, 2, 1)) == 0);
      CHECK(difference(plays(mode, 1, 0.5F), plays(Mode::inline_, 1, 0.5F)) == 0);
      CHECK(difference(plays(mode, 1, 0.5F), plays(Mode::inline_, 2, 0.5F)) > 0);
      CHECK(difference(plays(mode, 1, 0), plays(Mode::inline_, 1, 0.5F)) > 0);
    }
  }
}

TEST_CASE("encode patched into decode is forward, later by the sum of what they report") {
  for (const ModelPointer& model :
       {every_op(), every_op(2), echo({.hop = 16, .delay_samples = 5, .delay_frames = 2})}) {
    for (const Mode mode : kModes) {
      for (const Mode decode_mode : kModes) {
        for (const int block : {0, 4, 16, 48, 64}) {
          const std::string mode_name = name(mode);
          CAPTURE(mode_name);
          const std::string decode_mode_name = name(decode_mode);
          CAPTURE(decode_mode_name);
          CAPTURE(block);
          const int frames = 4800;
          const auto blocks = block ? blocks_of(frames, block) : random_blocks(frames, 100, 5);
          const auto make = [&](Method method, Mode how) {
            Setup setup = fitting(model, method);
            setup.mode = how;
            setup.fixed_block = block;
            auto player = prepared(model, setup);
            player->set(Switch::noise, false);  // it counts hops, of which the decoder may see some more
            return player;
          };
          auto forward = make(Method::forward, mode), encode = make(Method::encode, mode),
               decode = make(Method::decode, decode_mode);
          const Audio x = noise(model->info().channels, frames);
          const Audio direct = play(*forward, x, model->info().channels, blocks);
          const Audio latents = play(*encode, x, model->info().latents, blocks);
          const Audio patched = play(*decode, latents, model->info().channels, blocks);
          const int by = encode->latency_samples() + decode->latency_samples() - forward->latency_samples();
          const int from = 1000;  // before it the decoder has read latents of silence, which are no zeros
          CHECK(difference(part(shifted(direct, by), from, frames - 500), part(patched, from, frames - 500)) == 0);
          CHECK(peak(part(patched, from, frames - 500)) > 0.01F);
        }
      }
    }
  }
}

TEST_CASE("latency is exact at every rate, in every mode") {
  for (const int model_rate : {44100, 48000}) {
    const ModelPointer model = echo({.hop = 128, .delay_samples = 37, .delay_frames = 1, .sample_rate_hz = model_rate});
    for (const double rate : {8000.0, 22050.0, 44100.0, 44099.5, 48000.0, 88200.0, 96000.0, 192000.0}) {
      for (const Mode mode : kModes) {
        for (const int block : {0, 1, 64, 100, 1000}) {
          CAPTURE(model_rate);
          CAPTURE(rate);
          const std::string mode_name = name(mode);
          CAPTURE(mode_name);
          CAPTURE(block);
          Setup setup = fitting(model, Method::forward);
          setup.rate_hz = rate;
          setup.mode = mode;
          setup.fixed_block = block;
          auto player = prepared(model, setup);
          const int frames = 6000;
          const Audio x{bell(frames, 1000)};
          const Audio y = play(*player, x, 1, block ? blocks_of(frames, block) : random_blocks(frames, 512, 9));
          const int latency = player->latency_samples();
          REQUIRE(latency < 4500);
          CHECK(std::abs(lateness(x[0], y[0], latency) - latency) < 0.02);
          CHECK(std::abs(peak(y) - 1) < 1e-3);
        }
      }
    }
  }
}

TEST_CASE("latency of decode is exact at every rate, counted from the sample that is read") {
  const int hop = 32;
  const ModelPointer model = echo({.hop = hop, .delay_samples = 21});
  for (const double rate : {8000.0, 22050.0, 44100.0, 48000.0, 192000.0}) {
    const double ratio = 44100 / rate;
    for (const Mode mode : kModes) {
      for (const int block : {0, 64}) {
        const std::string mode_name = name(mode);
        CAPTURE(mode_name);
        CAPTURE(rate);
        Setup setup = fitting(model, Method::decode);
        setup.rate_hz = rate;
        setup.mode = mode;
        setup.fixed_block = block;
        auto player = prepared(model, setup);
        const int frames = 4096;
        const auto x = bell(frames, 1000);
        Audio latents(hop, std::vector<float>(frames, 9.0F));  // read nowhere but at the end of hops
        for (int g = 0; g * hop < frames * ratio; ++g) {
          const int read = static_cast<int>(std::ceil((g + 1) * hop / ratio - 1e-9)) - 1;
          if (read >= frames) break;
          for (int i = 0; i < hop; ++i) {
            const double t = (g * hop + i) / ratio;
            latents[static_cast<std::size_t>(i)][static_cast<std::size_t>(read)] =
                static_cast<float>(std::exp(-0.5 * std::pow((t - 1000) / 12, 2)));
          }
        }
        const Audio y = play(*player, latents, 1, block ? blocks_of(frames, block) : random_blocks(frames, 300, 4));
        const double expected = player->latency_samples() + hop / ratio - 1;
        CHECK(std::abs(lateness(x, y[0], static_cast<int>(expected)) - expected) < 0.02);
      }
    }
  }
}

TEST_CASE("at other rates encode patched into decode keeps the sum of the latencies to half a sample") {
  const ModelPointer model = echo({.hop = 32, .delay_samples = 21, .delay_frames = 1});
  for (const double rate : {8000.0, 32000.0, 48000.0, 96000.0}) {
    for (const Mode mode : kModes) {
      const std::string mode_name = name(mode);
      CAPTURE(mode_name);
      CAPTURE(rate);
      const int frames = 5000;
      const auto make = [&](Method method) {
        Setup setup = fitting(model, method);
        setup.rate_hz = rate;
        setup.mode = mode;
        return prepared(model, setup);
      };
      auto encode = make(Method::encode), decode = make(Method::decode);
      const auto x = bell(frames, 1000);
      const Audio latents = play(*encode, {x}, 32, random_blocks(frames, 300, 4));
      const Audio y = play(*decode, latents, 1, random_blocks(frames, 300, 6));
      const int sum = encode->latency_samples() + decode->latency_samples();
      CHECK(std::abs(lateness(x, y[0], sum) - sum) < 0.52);
      CHECK(std::abs(peak(y) - 1) < 1e-2);
    }
  }
}

TEST_CASE("every block size, to the sample: a pure delay gives back its input") {
  for (const int hop : {8, 96}) {
    for (const int delay : {0, 150}) {
      const ModelPointer model = echo({.hop = hop, .delay_samples = delay});
      for (const Mode mode : {Mode::automatic, Mode::inline_, Mode::sliced, Mode::threaded}) {
        for (const int core : {0, 1, 2}) {
          for (const int most : {1, 5, 64, 1000, 8192}) {
            CAPTURE(hop);
            CAPTURE(core);
            CAPTURE(most);
            Setup setup = fitting(model, Method::forward);
            setup.mode = mode;
            setup.core_slices = core;
            setup.max_block = std::min(most, 512);
            auto player = prepared(model, setup);
            const int frames = 2000;
            const Audio x = noise(1, frames);
            const Audio y = play(*player, x, 1, random_blocks(frames, most, 11));
            CHECK(difference(y, shifted(x, player->latency_samples())) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("channels that do not fit") {
  const ModelPointer mono = echo(), stereo = echo({.channels = 2});
  const Audio x = noise(3, 400);
  const auto run = [&](const ModelPointer& model, int in, int out) {
    Setup setup;
    setup.in_channels = in;
    setup.out_channels = out;
    auto player = prepared(model, setup);
    const Audio y = play(*player, Audio(x.begin(), x.begin() + in), out, {400});
    return shifted(y, -player->latency_samples());
  };
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.begin() + 300, b.begin());
  };
  const auto silent = [](const std::vector<float>& a) {
    return std::all_of(a.begin(), a.end(), [](float v) { return v == 0; });
  };
  auto y = run(mono, 2, 2);  // two streams
  CHECK((same(y[0], x[0]) && same(y[1], x[1])));
  y = run(mono, 1, 2);  // heard on both sides
  CHECK((same(y[0], x[0]) && same(y[1], x[0])));
  y = run(mono, 2, 1);
  CHECK(same(y[0], x[0]));
  y = run(stereo, 2, 2);
  CHECK((same(y[0], x[0]) && same(y[1], x[1])));
  y = run(stereo, 1, 1);  // fed twice, averaged
  CHECK(same(y[0], x[0]));
  y = run(stereo, 2, 1);
  for (int t = 0; t < 300; ++t)
    CHECK(y[0][static_cast<std::size_t>(t)] ==
          doctest::Approx(0.5 * (x[0][static_cast<std::size_t>(t)] + x[1][static_cast<std::size_t>(t)])));
  y = run(stereo, 3, 3);
  CHECK((same(y[0], x[0]) && same(y[1], x[1]) && silent(y[2])));
  y = run(mono, 0, 1);
  CHECK(silent(y[0]));
}

TEST_CASE("dry and wet are as late as each other") {
  const ModelPointer model = echo({.delay_samples = 100, .gain = -1});  // its input, upside down
  for (const double rate : {44100.0, 48000.0}) {
    CAPTURE(rate);
    Setup setup = fitting(model, Method::forward);
    setup.rate_hz = rate;
    const int frames = 8000;
    const Audio x = {bell(frames, 3000)};
    const auto run = [&](Control control, float value) {
      auto player = prepared(model, setup);
      player->set(control, value);
      return play(*player, x, 1, random_blocks(frames, 400, 2));
    };
    CHECK(peak(part(run(Control::drywet, 0.5F), 2000, frames)) < (rate == 44100 ? 1e-6 : 1e-3));
    CHECK(peak(run(Control::drywet, 0.6F)) > 0.1F);
    auto player = prepared(model, setup);
    player->set(Control::drywet, 0);
    const Audio dry = play(*player, x, 1, random_blocks(frames, 400, 2));
    CHECK(difference(part(dry, 1500, frames), part(shifted(x, player->latency_samples()), 1500, frames)) < 1e-30);
    // bypass is the dry signal whatever the gains, at the same latency
    player = prepared(model, setup);
    player->set(Switch::bypass, true);
    player->set(Control::output_gain_db, -20);
    const Audio bypassed = play(*player, x, 1, random_blocks(frames, 400, 2));
    CHECK(difference(part(bypassed, 1500, frames), part(shifted(x, player->latency_samples()), 1500, frames)) < 1e-30);
  }
}

TEST_CASE("nothing that is turned makes a step") {
  const ModelPointer model = echo({.hop = 16});
  Setup setup = fitting(model, Method::forward);
  const int frames = 6000, ramp = static_cast<int>(0.02 * 44100);
  const Audio x{std::vector<float>(frames, 0.5F)};  // a constant: every step would show
  const auto largest_step = [&](auto turn) {
    auto player = prepared(model, setup);
    Audio y = play(*player, part(x, 0, 3000), 1, blocks_of(3000, 100));
    turn(*player);
    const Audio rest = play(*player, part(x, 3000, frames), 1, blocks_of(3000, 100));
    y[0].insert(y[0].end(), rest[0].begin(), rest[0].end());
    CHECK(std::abs(y[0].back() - y[0][2999]) > 0.1F);  // it was turned
    float step = 0;
    for (int t = 2900; t < frames; ++t)
      step = std::max(step, std::abs(y[0][static_cast<std::size_t>(t)] - y[0][static_cast<std::size_t>(t - 1)]));
    return step;
  };
  const float sample_steps = 1.5F / ramp;  // from 0.5 to any value below 2
  const float hop_steps = 16 * sample_steps;
  CHECK(largest_step([](Player& p) { p.set(Control::input_gain_db, 6); }) < sample_steps);
  CHECK(largest_step([](Player& p) { p.set(Control::output_gain_db, -60); }) < sample_steps);
  CHECK(largest_step([](Player& p) { p.set(Control::input_gain_db, 6); }) > 0);
  for (int what = 0; what < 3; ++what) {
    CHECK(largest_step([&](Player& p) {
            for (int i = 0; i < 16; ++i) {
              LatentControl control;
              if (what == 0) control.scale = 2;
              if (what == 1) control.bias = 0.5F;
              if (what == 2) control.override_on = true;
              p.set_latent(i, control);
            }
          }) < hop_steps);
  }
  CHECK(largest_step([](Player& p) {
          p.store_snapshot(0);
          for (int i = 0; i < 16; ++i) p.set_latent(i, {.bias = 0.25F});
        }) < hop_steps);
  // snapshots of 0 and morphing towards them
  CHECK(largest_step([](Player& p) { p.set(Switch::morphing, true); }) < hop_steps);
  CHECK(largest_step([](Player& p) { p.recall_snapshot(1); }) < hop_steps);
}

TEST_CASE("labels: weights are ramped within 20 ms, kept by later models, and add up") {
  const ModelPointer model = echo({.hop = 16, .labels = 3});
  Setup setup = fitting(model, Method::forward);
  const int frames = 3000, ramp = static_cast<int>(0.02 * 44100);
  const Audio x{std::vector<float>(2 * frames, 0.5F)};
  for (const Mode mode : kModes) {
    setup.mode = mode;
    auto player = prepared(model, setup);
    Audio y = play(*player, part(x, 0, frames), 1, blocks_of(frames, 100));
    CHECK(y[0].back() == doctest::Approx(0.5));  // the first label
    player->set_label(2);
    const Audio rest = play(*player, part(x, frames, 2 * frames), 1, blocks_of(frames, 100));
    float before = y[0].back(), step = 0;
    int moving = 0;
    for (const float now : rest[0]) {
      step = std::max(step, std::abs(now - before));
      moving += now != 0.5F && now != 2.5F ? 1 : 0;
      before = now;
    }
    CHECK(before == doctest::Approx(2.5));
    CHECK(step < 16 * 2.5F / ramp);  // a hop's share of the way
    CHECK(moving > ramp - 50);
    CHECK(moving < ramp + 50);
    player->set_label_weight(1, 0.5F);
    player->set_label_weight(2, -0.25F);
    player->set_label_weight(-1, 5);
    player->set_label_weight(1000, 5);
    player->set_label_weight(0, std::numeric_limits<float>::quiet_NaN());
    y = play(*player, part(x, 0, frames), 1, blocks_of(frames, 100));
    CHECK(y[0].back() == doctest::Approx(0.5 + 0.5 - 0.5));
    CHECK(player->load(echo({.hop = 32, .labels = 2})));
    y = play(*player, part(x, 0, frames), 1, blocks_of(frames, 100));
    CHECK(y[0].back() == doctest::Approx(1));  // label 1 by half
    player->set_label_weight(1, 1e9F);
    CHECK(player->label_weight(1) == 10);
  }
}

TEST_CASE("latents: override, freeze, snapshots, morph") {
  const ModelPointer model = echo({.hop = 16});
  Setup setup = fitting(model, Method::encode);
  auto player = prepared(model, setup);
  CHECK(player->latents() == 16);
  const auto play_constant = [&](float value) {
    const Audio x{std::vector<float>(3200, value)};
    const Audio y = play(*player, x, 16, blocks_of(3200, 64));
    return y[3].back();
  };
  CHECK(play_constant(0.25F) == 0.25F);
  CHECK(player->latent_value(3) == 0.25F);
  player->store_snapshot(0);
  player->set_latent(3, {.scale = 2, .bias = 1});
  CHECK(play_constant(0.25F) == 1.5F);
  player->set_latent(3, {.override_value = -3, .override_on = true});
  CHECK(play_constant(0.25F) == -3);
  player->store_snapshot(1);
  player->set_latent(3, {});
  CHECK(play_constant(0.5F) == 0.5F);
  player->set(Switch::freeze, true);
  CHECK(play_constant(0.75F) == 0.5F);
  player->set(Switch::freeze, false);
  CHECK(play_constant(0.75F) == 0.75F);
  player->set(Switch::morphing, true);
  CHECK(play_constant(0.75F) == 0.25F);
  player->set(Control::morph, 0.5F);
  CHECK(play_constant(0.75F) == doctest::Approx(0.5 * (0.25 - 3)));
  player->set(Switch::morphing, false);
  player->recall_snapshot(1);
  CHECK(player->get(Switch::freeze));
  CHECK(play_constant(0.75F) == -3);
  player->set(Switch::freeze, false);
  CHECK(play_constant(0.75F) == 0.75F);
  player->set(Control::noise_latent, 1);
  CHECK(std::abs(play_constant(0.75F) - 0.75F) > 0.01F);
  CHECK(player->latent(3).scale == 1);
  CHECK(player->latent(-1).scale == 1);
  player->set_latent(100000, {});
}

TEST_CASE("NaN and infinity neither leave nor stay") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const Method method : kMethods) {
    for (const Mode mode : kModes) {
      for (const double rate : {44100.0, 48000.0}) {
        const std::string mode_name = name(mode);
        CAPTURE(mode_name);
        // a good model with bad input, as zeros would be
        const ModelPointer model = every_op();
        Setup setup = fitting(model, method);
        setup.mode = mode;
        setup.rate_hz = rate;
        Audio x = noise(setup.in_channels, 3000), clean = x;
        for (auto& row : x) row[1000] = nan, row[1001] = infinity;
        for (auto& row : clean) row[1000] = row[1001] = 0;
        CHECK(difference(play(*prepared(model, setup), x, setup.out_channels, blocks_of(3000, 100)),
                         play(*prepared(model, setup), clean, setup.out_channels, blocks_of(3000, 100))) == 0);
        // a model that overflows on loud input, and has to be well again afterwards
        const ModelPointer wild = echo({.gain = 3e38F});
        setup = fitting(wild, method);
        setup.mode = mode;
        setup.rate_hz = rate;
        auto player = prepared(wild, setup);
        if (method == Method::decode) player->set_latent(0, {.scale = 3e38F});
        Audio loud = noise(setup.in_channels, 3000);
        for (auto& row : loud) std::fill(row.begin() + 1000, row.end(), 0.0F);
        for (auto& row : loud) row[500] = 1e30F;
        const Audio y = play(*player, loud, setup.out_channels, blocks_of(3000, 100));
        for (const auto& row : y) CHECK(std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); }));
        CHECK(peak(part(y, 2900, 3000)) < 1e30F);
      }
    }
  }
}

TEST_CASE("a new model fades in; one that fails leaves the old one playing and says why") {
  const ModelPointer one = echo({.delay_samples = 40}), inverse = echo({.delay_samples = 10, .gain = -1});
  Setup setup = fitting(one, Method::forward);
  auto player = prepared(one, setup);
  const int latency = player->latency_samples();
  const Audio x{std::vector<float>(20000, 0.5F)};
  int at = 0;
  const auto go = [&](int frames) {
    const Audio y = play(*player, part(x, at, at + frames), 1, blocks_of(frames, 100));
    at += frames;
    return y[0];
  };
  CHECK(go(1000).back() == 0.5F);
  CHECK_FALSE(player->load("/nowhere/at-all.ravel", true));
  CHECK(player->take_message().find("at-all.ravel") != std::string::npos);
  CHECK(player->take_message().empty());
  CHECK(player->model() == one);
  CHECK(go(4000).back() == 0.5F);
  const auto broken = std::filesystem::temp_directory_path() / "ravel-player-broken.ravel";
  std::ofstream(broken) << "not a model";
  player->load(broken.string(), true);
  CHECK(player->take_message().find("ravel-player-broken") != std::string::npos);
  CHECK(go(1000).back() == 0.5F);
  // a model with less delay is held back to the latency that the host knows
  player->load(inverse);
  const auto y = go(5000);
  CHECK(y.back() == -0.5F);
  CHECK(player->latency_samples() == latency);
  CHECK_FALSE(player->wants_prepare());
  float step = 0;
  for (std::size_t t = 1; t < y.size(); ++t) step = std::max(step, std::abs(y[t] - y[t - 1]));
  CHECK(step < 2 * 0.5 * std::numbers::pi / 2 / (0.05 * 44100) * 1.1);
  // one with more asks for a new start
  player->load(echo({.delay_samples = 400}));
  CHECK(player->wants_prepare());
  CHECK(player->latency_samples() == latency);
  CHECK(player->take_message().find("later") != std::string::npos);
  CHECK(go(5000).back() == 0.5F);
  player->set_mode(Mode::inline_);
  Host host;
  host.sample_rate_hz = 44100;
  player->prepare(host);
  CHECK(player->latency_samples() == latency + 360);
  CHECK_FALSE(player->wants_prepare());
  std::filesystem::remove(broken);
}

TEST_CASE("a thousand swaps while playing: never a jump") {
  const ModelPointer models[] = {echo(), echo({.delay_samples = 30}), echo({.hop = 32, .gain = -1}),
                                 echo({.sample_rate_hz = 48000})};
  Setup setup = fitting(models[0], Method::forward);
  setup.rate_hz = 44100;
  auto player = prepared(models[1], setup);
  player->load(models[2]);
  Audio x{std::vector<float>(400)}, y = x;
  double phase = 0, before = 0, step = 0;
  for (int swap = 0; swap < 1000; ++swap) {
    player->load(models[swap % 4], swap % 10 == 0);
    for (auto& v : x[0]) v = static_cast<float>(0.5 * std::sin(phase += 0.02));
    player->process(rows(std::as_const(x), 0).data(), rows(y, 0).data(), 400);
    for (const float v : y[0]) {
      step = std::max(step, std::abs(v - before));
      before = v;
    }
  }
  // the sine's own slope of two voices, and the slope of the fade over both
  CHECK(step < std::numbers::sqrt2 * 0.5 * 0.02 + 2 * 0.5 * std::numbers::pi / 2 / (0.05 * 44100));
  CHECK(step > 0.005);
}

TEST_CASE("reset: as new, at once, and what sounded runs out") {
  const ModelPointer model = every_op();
  const Setup setup = fitting(model, Method::forward);
  auto player = prepared(model, setup);
  const Audio x = noise(1, 3000), fresh = play(*player, x, 1, random_blocks(3000, 300, 1));
  play(*player, noise(1, 777, 9), 1, {777});
  player->request_reset();
  const Audio again = play(*player, x, 1, random_blocks(3000, 300, 2));
  const int latency = player->latency_samples();
  CHECK(difference(part(again, latency, 3000), part(fresh, latency, 3000)) == 0);
  // a constant does not drop to silence at once
  player = prepared(echo({.delay_samples = 600}), setup);
  const Audio constant{std::vector<float>(3000, 0.5F)};
  play(*player, constant, 1, {3000});
  player->request_reset();
  const Audio y = play(*player, constant, 1, {615});  // its latency
  CHECK(y[0][0] == 0.5F);
  CHECK(y[0][614] < 0.001F);
  for (std::size_t t = 1; t < 615; ++t) CHECK(std::abs(y[0][t] - y[0][t - 1]) < 0.001F);
}

TEST_CASE("a host that breaks its promise of a fixed block keeps its latency") {
  const ModelPointer model = echo({.hop = 64});
  Setup setup = fitting(model, Method::forward);
  setup.fixed_block = 64;
  auto player = prepared(model, setup);
  CHECK(player->latency_samples() == 0);
  const Audio x = noise(1, 6400);
  auto blocks = std::vector<int>{10, 30, 5, 19};
  while (blocks.size() < 103) blocks.push_back(64);
  const Audio y = play(*player, part(x, 0, 6400), 1, blocks);
  CHECK(difference(part(y, 64, 6400), part(x, 64, 6400)) == 0);
}

TEST_CASE("swaps at different times keep encode and decode together") {
  const ModelPointer one = echo({.hop = 32}), other = echo({.hop = 32, .gain = -1});
  const int frames = 20000;
  const auto make = [&](Method method) { return prepared(one, fitting(one, method)); };
  auto encode = make(Method::encode), decode = make(Method::decode);
  const Audio x = noise(1, frames);
  Audio y;
  for (int at = 0; at < frames; at += 100) {
    if (at == 1700) encode->load(other);
    if (at == 5300) decode->load(other);  // decodes alike
    const Audio z = play(*encode, part(x, at, at + 100), 32, {100});
    const Audio out = play(*decode, z, 1, {100});
    if (y.empty()) y.resize(1);
    y[0].insert(y[0].end(), out[0].begin(), out[0].end());
  }
  const int latency = encode->latency_samples() + decode->latency_samples();
  Audio inverse = shifted(x, latency);
  for (float& v : inverse[0]) v = -v;
  CHECK(difference(part(y, 100, 1700), part(shifted(x, latency), 100, 1700)) == 0);
  CHECK(difference(part(y, 10000, frames), part(inverse, 10000, frames)) == 0);
}

TEST_CASE("no model: silence, no latency, and the first one fades in") {
  Setup setup;
  auto player = prepared(nullptr, setup);
  CHECK(player->latency_samples() == 0);
  const Audio x = noise(1, 1000);
  CHECK(peak(play(*player, x, 1, {1000})) == 0);
  player->set(Switch::bypass, true);
  play(*player, x, 1, {1000});
  CHECK(difference(play(*player, x, 1, {1000}), x) == 0);
  player->set(Switch::bypass, false);
  const ModelPointer model = echo();
  player->load(model);
  CHECK(player->latency_samples() == 15);
  play(*player, noise(1, 10000), 1, {10000});
  CHECK(difference(play(*player, x, 1, {1000}), Audio{x}) > 0);
  CHECK(peak(play(*player, x, 1, {1000})) > 0.4F);
}

TEST_CASE("one file is in memory once") {
  const auto path = std::filesystem::temp_directory_path() / "ravel-player-shared.ravel";
  const auto bytes = test::echo().bytes();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  Player a, b;
  a.load(path.string());
  b.load(path.string(), true);
  a.load(path.string(), true);
  CHECK(a.model() == b.model());
  CHECK(a.path() == path.string());
  std::filesystem::remove(path);
}

TEST_CASE("a player may end while it loads") {
  const ModelPointer model = every_op();
  for (int i = 0; i < 50; ++i) {
    auto player = prepared(i % 2 ? model : nullptr, fitting(model, Method::forward));
    CHECK(player->load(model, false));
  }
}

TEST_CASE("threaded: hops that come too late are silence, and the latency recovers") {
  const ModelPointer model = echo({.hop = 64});
  Setup setup = fitting(model, Method::forward);
  setup.mode = Mode::threaded;
  setup.offline = false;  // far faster than real time: the worker cannot keep up
  auto player = prepared(model, setup);
  const int latency = player->latency_samples();
  Audio x = noise(1, 64 * 20000);
  const auto begin = std::chrono::steady_clock::now();
  play(*player, x, 1, blocks_of(64 * 20000, 64));
  CHECK(player->meters().late_hops > 0);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  // in real time again every hop is there, where it belongs
  player->set_offline(true);
  x = noise(1, 6400);
  const Audio y = play(*player, x, 1, blocks_of(6400, 64));
  CHECK(difference(part(y, 640, 6400), part(shifted(x, latency), 640, 6400)) == 0);
}

TEST_CASE("modes by name; automatic is inline where a hop costs little and sliced where it does not") {
  CHECK(mode_from_name("sliced") == Mode::sliced);
  CHECK_THROWS_AS(mode_from_name("fast"), Error);
  const ModelPointer model = echo({.hop = 256});
  Host host;
  host.max_block = 64;
  CHECK(player::schedule(*model, Method::forward, 1, host, Mode::automatic, 0).mode == Mode::inline_);
  CHECK(player::schedule(*model, Method::forward, 10000, host, Mode::automatic, 0).mode == Mode::sliced);
  host.max_block = 100;
  const auto plan = player::schedule(*model, Method::forward, 1, host, Mode::sliced, 0);
  CHECK(plan.quantum == 64);
  CHECK(plan.slices == 4);
  CHECK(plan.core_slices == 4);
}

TEST_CASE("while it plays, every control is turned and models are loaded") {
  const ModelPointer models[] = {every_op(), echo(), echo({.hop = 32, .labels = 3})};
  for (const Mode mode : kModes) {
    Setup setup = fitting(models[0], Method::forward);
    setup.mode = mode;
    setup.rate_hz = 48000;
    setup.offline = false;
    auto player = prepared(models[0], setup);
    std::atomic<bool> stop{false};
    std::thread control([&] {
      std::mt19937 random(3);
      const auto any = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
      while (!stop) {
        player->set(static_cast<Control>(any(static_cast<int>(Control::count_))), static_cast<float>(any(100)) / 10);
        player->set(static_cast<Switch>(any(static_cast<int>(Switch::count_))), any(2) == 0);
        player->set_latent(any(8), {1.5F, 0.5F, 1.0F, any(2) == 0});
        player->store_snapshot(any(2));
        player->recall_snapshot(any(2));
        player->set_seed(any(100));
        player->set_label(any(3));
        if (any(20) == 0) player->request_reset();
        if (any(20) == 0) player->load(models[any(3)]);
        player->take_message();
        (void)(player->latent_value(any(4)) + player->meters().load + static_cast<float>(player->latency_samples()));
      }
    });
    const Audio x = noise(1, 512);
    Audio y = x;
    bool finite = true;
    for (int i = 0; i < 400; ++i) {
      player->process(rows(x, 0).data(), rows(y, 0).data(), 1 + i % 512);
      finite = finite && std::isfinite(y[0][0]) && std::isfinite(y[0][static_cast<std::size_t>(i % 512)]);
    }
    stop = true;
    control.join();
    CHECK(finite);
  }
}
