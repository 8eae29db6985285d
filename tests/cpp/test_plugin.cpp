// The plugin's laws, without any plugin format: it is the player, blocks and threads do not matter, and a project comes
// back whatever happened to its files.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "feed.h"
#include "ravel/player.h"
#include "realtime/watch.h"
#include "sample_models.h"
#include "shell.h"
#include "state.h"

using namespace ravel;
using namespace ravel::plugin;
namespace fs = std::filesystem;

namespace {

using Audio = std::array<std::vector<float>, 2>;

constexpr double kRate = 44100;
constexpr int kBlock = 256;

// A folder that is gone at the end.
class Folder {
 public:
  Folder() {
    static std::atomic<int> count{0};
    path_ = fs::temp_directory_path() /
            ("ravel-plugin-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()) + "-" +
             std::to_string(count++));
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::vector<std::byte>& bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return *this / name;
  }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return *this / name;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<std::byte> model_bytes(std::uint32_t seed = 1, int channels = 1) {
  test::SampleOptions options;
  options.seed = seed;
  options.channels = channels;
  return test::every_op(options).bytes();
}

std::vector<std::byte> late_model(int delay_samples) {
  test::EchoOptions options;
  options.delay_samples = delay_samples;
  return test::echo(options).bytes();
}

Audio noise(int frames, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-0.5F, 0.5F);
  Audio x;
  for (auto& row : x) {
    row.resize(static_cast<std::size_t>(frames));
    std::generate(row.begin(), row.end(), [&] { return value(random); });
  }
  return x;
}

std::vector<int> blocks_of(int frames, int block) {
  std::vector<int> blocks(static_cast<std::size_t>(frames / block), block);
  if (frames % block) blocks.push_back(frames % block);
  return blocks;
}

std::vector<int> random_blocks(int frames, int most, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> blocks;
  for (int left = frames; left > 0; left -= blocks.back())
    blocks.push_back(std::min(left, 1 + static_cast<int>(random() % static_cast<unsigned>(random() % 3 ? most : 5))));
  return blocks;
}

// Events at frames since the beginning.
Audio play(Shell& shell, const Audio& x, const std::vector<int>& blocks, const std::vector<Midi>& events = {}) {
  Audio y{std::vector<float>(x[0].size(), -7.0F), std::vector<float>(x[0].size(), -7.0F)};
  int at = 0;
  for (const int block : blocks) {
    std::vector<Midi> now;
    for (const Midi& event : events) {
      if (event.frame >= at && event.frame < at + block) now.push_back({event.frame - at, event.bytes});
    }
    const float* in[] = {x[0].data() + at, x[1].data() + at};
    float* out[] = {y[0].data() + at, y[1].data() + at};
    shell.process(in, out, block, now);
    at += block;
  }
  return y;
}
Audio play(Shell& shell, const Audio& x) { return play(shell, x, blocks_of(static_cast<int>(x[0].size()), kBlock)); }

double peak(const Audio& x) {
  double most = 0;
  for (const auto& row : x) {
    for (const float value : row) most = std::max(most, static_cast<double>(std::abs(value)));
  }
  return most;
}

std::unique_ptr<Shell> playing(const std::string& path, Form form = Form::effect, int max_block = 4096) {
  auto shell = std::make_unique<Shell>(form);
  shell->open(path);
  shell->activate(kRate, max_block);
  REQUIRE(shell->status().message == "");
  return shell;
}

bool soon(const std::function<bool()>& done) {
  for (int i = 0; i < 2000 && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return done();
}

Midi note_on(int frame, int note, int velocity = 100) {
  return {frame, {0x90, static_cast<std::uint8_t>(note), static_cast<std::uint8_t>(velocity)}};
}
Midi note_off(int frame, int note) { return {frame, {0x80, static_cast<std::uint8_t>(note), 0}}; }
Midi controller(int frame, int number, int value) {
  return {frame, {0xB0, static_cast<std::uint8_t>(number), static_cast<std::uint8_t>(value)}};
}

bool same_latents(const Shell& a, const Shell& b) {
  for (int i = 0; i < 4; ++i) {
    if (a.latent_value(i) != b.latent_value(i)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("plugin: parameters are what hosts store") {
  const auto list = parameters();
  REQUIRE(list.size() == kParameters);
  std::vector<std::string> symbols;
  for (int i = 0; i < kParameters; ++i) {
    const Parameter& about = list[static_cast<std::size_t>(i)];
    CAPTURE(about.symbol);
    CHECK(about.minimum < about.maximum);
    CHECK(fitted(i, about.initial) == about.initial);
    CHECK(!text(i, about.initial).empty());
    CHECK(std::all_of(about.symbol.begin(), about.symbol.end(),
                      [](unsigned char c) { return std::islower(c) || std::isdigit(c) || c == '_'; }));
    symbols.push_back(about.symbol);
  }
  std::sort(symbols.begin(), symbols.end());
  CHECK(std::adjacent_find(symbols.begin(), symbols.end()) == symbols.end());
  // Projects know them by these, so they never change.
  CHECK(list[kModel].symbol == "model");
  CHECK(list[kBypass].symbol == "bypass");
  CHECK(id(15, kOverrideOn) == 81);
  CHECK(list[81].symbol == "latent16_override_on");
  CHECK(list[82].symbol == "label1");
  CHECK(list[90].symbol == "prior");
  CHECK(list[91].symbol == "prior_temperature");
  for (int i = 0; i < kLabels; ++i)
    CHECK(text(kFirstLabel + i, list[82U + static_cast<std::size_t>(i)].initial) == (i == 0 ? "100 %" : "0 %"));
  CHECK(text(kInputGain, -6) == "-6.0 dB");
  CHECK(text(kDryWet, 50) == "50 %");
  CHECK(text(kMode, 2) == "flattest load");
  CHECK(text(kFreeze, 1) == "on");
  CHECK(text(kAttack, 12) == "12 ms");
}

TEST_CASE("plugin: values are clamped, whole where they have to be, and NaN is nothing") {
  Shell shell(Form::effect);
  shell.set_parameter(kInputGain, 100);
  CHECK(shell.parameter(kInputGain) == 24);
  shell.set_parameter(kInputGain, std::nanf(""));
  CHECK(shell.parameter(kInputGain) == 24);
  shell.set_parameter(kMode, 1.4F);
  CHECK(shell.parameter(kMode) == 1);
  shell.set_parameter(-1, 1);
  shell.set_parameter(kParameters, 1);
  CHECK(shell.parameter(kParameters) == 0);
}

TEST_CASE("plugin: the effect is the player") {
  const Folder folder;
  for (const int channels : {1, 2}) {
    const std::string path = folder.write("a.ravel", model_bytes(1, channels));
    const Audio x = noise(8000);
    const auto shell = playing(path);
    const Audio y = play(*shell, x);
    Player player;
    REQUIRE(player.load(path, true));
    Host host;
    host.sample_rate_hz = kRate;
    host.max_block = 4096;
    host.in_channels = host.out_channels = 2;
    player.prepare(host);
    Audio z = x;
    const float* in[] = {x[0].data(), x[1].data()};
    float* out[] = {z[0].data(), z[1].data()};
    player.process(in, out, 8000);
    CHECK(y == z);
    CHECK(peak(y) > 0);
    CHECK(shell->latency_samples() == player.latency_samples());
  }
}

TEST_CASE("plugin: blocks do not matter, notes and controllers included") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const Audio x = noise(12000);
  std::vector<Midi> events = {note_on(1001, 72),         controller(1500, 7, 30), note_on(2500, 79, 60),
                              note_off(3000, 79),        note_off(5003, 72),      {5200, {0xE0, 0, 0x60}},
                              controller(6000, 64, 127), note_on(6100, 40),       note_off(6200, 40),
                              controller(7000, 64, 0),   {7500, {0xD0, 90, 0}},   controller(7600, 1, 64)};
  for (const Form form : {Form::effect, Form::instrument}) {
    for (const Notes notes : {Notes::freeze, Notes::push}) {
      for (const Stereo stereo : {Stereo::left_right, Stereo::mid_side, Stereo::mono}) {
        std::vector<Audio> heard;
        for (const auto& blocks : {blocks_of(12000, 12000), blocks_of(12000, 64), random_blocks(12000, 700, 3)}) {
          Shell shell(form);
          shell.open(path);
          shell.set_parameter(kNotes, static_cast<float>(notes));
          shell.set_parameter(kStereo, static_cast<float>(stereo));
          shell.set_parameter(kWidth, 140);
          shell.activate(kRate, 1024);
          shell.learn(kOutputGain);
          heard.push_back(play(shell, x, blocks, events));
          CHECK(shell.controller_of(kOutputGain) == 7);
        }
        CHECK(heard[0] == heard[1]);
        CHECK(heard[0] == heard[2]);
        CHECK(peak(heard[0]) > 1e-4);
      }
    }
  }
}

TEST_CASE("plugin: what bypass and dry pass is the input, as late as it says") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const Audio x = noise(6000);
  for (const Stereo stereo : {Stereo::left_right, Stereo::mid_side}) {
    for (const bool bypass : {true, false}) {
      Shell shell(Form::effect);
      shell.open(path);
      shell.set_parameter(kStereo, static_cast<float>(stereo));
      shell.set_parameter(kWidth, bypass ? 30 : 100);
      shell.set_parameter(bypass ? kBypass : kDryWet, bypass ? 1 : 0);
      shell.activate(kRate, kBlock);
      const Audio y = play(shell, x);
      const auto late = static_cast<std::size_t>(shell.latency_samples());
      REQUIRE(late > 0);
      double error = 0;
      for (std::size_t c = 0; c < 2; ++c) {
        for (std::size_t t = late; t < y[c].size(); ++t)
          error = std::max(error, static_cast<double>(std::abs(y[c][t] - x[c][t - late])));
      }
      CHECK(error < 1e-6);
    }
  }
}

TEST_CASE("plugin: a note holds the sound of the moment, and lets go after its release") {
  const Folder folder;
  const auto shell = playing(folder.write("a.ravel", model_bytes()));
  const Audio x = noise(4096);
  play(*shell, x, {4096}, {note_on(100, 60)});
  const float held = shell->latent_value(0);
  play(*shell, noise(4096, 9));
  CHECK(shell->latent_value(0) == held);
  play(*shell, noise(16384, 10), {16384}, {note_off(0, 60)});  // 200 ms are 8820 samples
  CHECK(shell->latent_value(0) != held);
}

TEST_CASE("plugin: pitch bend moves the first latent") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto still = playing(path), bent = playing(path);
  const Audio x = noise(8192);
  play(*still, x);
  play(*bent, x, blocks_of(8192, kBlock), {{0, {0xE0, 0x7F, 0x7F}}});
  CHECK(bent->latent_value(0) - still->latent_value(0) == doctest::Approx(8191.0 / 8192).epsilon(1e-3));
  CHECK(bent->latent_value(1) == still->latent_value(1));
}

TEST_CASE("plugin: the instrument is silent without notes, and its envelope is as late as it says") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const Audio x = noise(8192);
  const auto shell = playing(path, Form::instrument);
  CHECK(peak(play(*shell, x)) == 0);
  const Audio y = play(*shell, x, blocks_of(8192, kBlock), {note_on(500, 67), note_off(2000, 67)});
  const auto begin = static_cast<std::size_t>(500 + shell->latency_samples());
  CHECK(std::all_of(y[0].begin(), y[0].begin() + static_cast<std::ptrdiff_t>(begin), [](float v) { return v == 0; }));
  CHECK(y[0][begin + 5] != 0);
  CHECK(peak(y) > 1e-4);
  play(*shell, noise(20000));
  CHECK(peak(play(*shell, x)) == 0);
  play(*shell, x, {8192}, {note_on(0, 50)});
  shell->activate(kRate, 4096);  // no note hangs
  CHECK(peak(play(*shell, x)) == 0);
  const Audio low = play(*shell, x, {8192}, {note_on(0, 36)}), high = play(*shell, x, {8192}, {note_on(0, 84)});
  CHECK(low != high);
}

TEST_CASE("plugin: notes of the instrument move what codes stand for, not their numbers") {
  const Folder folder;
  test::SampleOptions options;
  options.quantisers = 3;
  const auto shell = playing(folder.write("codes.ravel", test::every_op(options).bytes()), Form::instrument);
  const Audio x = noise(8192);
  const Audio low = play(*shell, x, {8192}, {note_on(0, 48)});
  const float at_low = shell->latent_value(0);
  const Audio high = play(*shell, x, {8192}, {note_on(0, 72)});
  CHECK(peak(low) > 1e-4);
  CHECK(low != high);
  CHECK(shell->latent_value(0) - at_low == doctest::Approx(2).epsilon(1e-3));  // octaves
}

TEST_CASE("plugin: keys reach as far as a latent's scale says, whatever a model is made of") {
  const Folder folder;
  test::SampleOptions plain, codes, prior;
  codes.quantisers = 3;
  prior.prior = 3;
  for (const auto& options : {plain, codes, prior}) {
    std::array<float, 2> at{};
    for (const int octave : {0, 1}) {
      const auto shell = playing(folder.write("a.ravel", test::every_op(options).bytes()), Form::instrument);
      shell->set_parameter(id(0, kScale), -0.5F);
      play(*shell, noise(8192), {8192}, {note_on(0, 60 + 12 * octave)});
      at[static_cast<std::size_t>(octave)] = shell->latent_value(0);
    }
    CHECK(at[1] - at[0] == doctest::Approx(-0.5).epsilon(1e-3));
  }
}

TEST_CASE("plugin: with the prior alone the effect does not hear its input, and without it does not play by itself") {
  const Folder folder;
  test::SampleOptions options;
  options.prior = 3;
  const std::string path = folder.write("prior.ravel", test::every_op(options).bytes());
  const auto heard = [&](float amount, float temperature, unsigned seed) {
    Shell shell(Form::effect);
    shell.open(path);
    shell.set_parameter(kPrior, amount);
    shell.set_parameter(kPriorTemperature, temperature);
    shell.activate(kRate, 4096);
    CHECK(shell.status().prior);
    CHECK((shell.tail_samples() < 0) == (amount > 0));
    return play(shell, noise(8192, seed));
  };
  CHECK(heard(100, 1, 1) == heard(100, 1, 2));
  CHECK(heard(100, 1, 1) != heard(100, 0, 1));
  CHECK(heard(50, 1, 1) != heard(50, 1, 2));
  CHECK(heard(0, 1, 1) == heard(0, 0, 1));
  CHECK(heard(0, 1, 1) != heard(0, 1, 2));
}

TEST_CASE("plugin: the instrument needs no note as far as the prior plays, and keys still lead it") {
  const Folder folder;
  for (const int quantisers : {0, 3}) {
    test::SampleOptions options;
    options.quantisers = quantisers;
    options.prior = 3;
    const std::string path = folder.write("prior.ravel", test::every_op(options).bytes());
    const Audio x = noise(12000);
    std::vector<Audio> sounds;
    for (const auto& blocks : {blocks_of(12000, 64), random_blocks(12000, 700, 3)}) {
      const auto shell = playing(path, Form::instrument);
      CHECK(peak(play(*shell, x, blocks)) == 0);
      CHECK(shell->tail_samples() >= 0);
      shell->set_parameter(kPrior, 70);
      CHECK(shell->tail_samples() < 0);
      sounds.push_back(play(*shell, x, blocks, {note_on(5003, 67), note_off(7000, 67)}));
      CHECK(peak({std::vector<float>(sounds.back()[0].begin() + 3000, sounds.back()[0].begin() + 5000), {}}) > 1e-4);
      const auto first = sounds.back()[0].begin();
      const Audio start{std::vector<float>(first, first + shell->latency_samples() + 8), {}};
      CHECK(peak(start) < 0.02 * peak(sounds.back()));  // opens in 20 ms
      shell->set_parameter(kPrior, 0);
      play(*shell, x, blocks);
      CHECK(peak(play(*shell, x, blocks)) == 0);
    }
    CHECK(sounds[0] == sounds[1]);
    std::array<float, 2> at{};
    for (const int octave : {0, 1}) {
      Shell shell(Form::instrument);
      shell.open(path);
      shell.set_parameter(kPrior, 100);
      shell.activate(kRate, 4096);
      play(shell, x, {12000}, {note_on(0, 60 + 12 * octave)});
      at[static_cast<std::size_t>(octave)] = shell.latent_value(0);
    }
    CHECK(at[1] - at[0] == doctest::Approx(1).epsilon(1e-3));
  }
  const auto without = playing(folder.write("plain.ravel", model_bytes()), Form::instrument);
  without->set_parameter(kPrior, 100);
  CHECK(peak(play(*without, noise(8192))) == 0);
}

TEST_CASE("plugin: a controller that was learnt moves its parameter at its frame, and the host hears of it") {
  const Folder folder;
  const auto shell = playing(folder.write("a.ravel", model_bytes()));
  std::array<int, 8> moved{};
  shell->take_moved(moved.data(), 8);
  shell->learn(kDryWet);
  CHECK(shell->learning() == kDryWet);
  const Audio x = noise(1024);
  play(*shell, x, {1024}, {controller(300, 21, 127)});
  CHECK(shell->learning() == -1);
  CHECK(shell->controller_of(kDryWet) == 21);
  play(*shell, x, {1024}, {controller(300, 21, 0)});
  CHECK(shell->parameter(kDryWet) == 0);
  REQUIRE(shell->take_moved(moved.data(), 8) == 1);
  CHECK(moved[0] == kDryWet);
  CHECK(shell->take_moved(moved.data(), 8) == 0);
  shell->forget(kDryWet);
  play(*shell, x, {1024}, {controller(300, 21, 127)});
  CHECK(shell->parameter(kDryWet) == 0);
}

TEST_CASE("plugin: the weights of labels blend, without a step, and a model says what they are called") {
  const Folder folder;
  test::EchoOptions options;
  options.labels = 3;  // label i adds i to every sample
  const auto shell = playing(folder.write("labels.ravel", test::echo(options).bytes()));
  CHECK(shell->status().labels == std::vector<std::string>{"label 0", "label 1", "label 2"});
  const Audio silence{std::vector<float>(4096), std::vector<float>(4096)};
  CHECK(play(*shell, silence)[0].back() == 0);  // the first
  shell->set_parameter(kFirstLabel, 50);
  shell->set_parameter(kFirstLabel + 1, 25);
  shell->set_parameter(kFirstLabel + kLabels - 1, 100);  // which it has not
  shell->learn(kFirstLabel + 2);
  const Audio y = play(*shell, silence, {4096}, {controller(0, 20, 127)});
  CHECK(y[0].back() == doctest::Approx(0.25 + 2));
  double step = 0;
  for (std::size_t t = 1; t < y[0].size(); ++t) step = std::max(step, static_cast<double>(y[0][t] - y[0][t - 1]));
  CHECK(step < 0.1);  // a ramp of hops, 16 samples each
  shell->load_factory_preset(1);
  CHECK(shell->parameter(kFirstLabel + 1) == 25);  // which instrument plays is none of its business
  shell->open(folder.write("plain.ravel", model_bytes()));
  CHECK(soon([&] { return shell->status().path == folder / "plain.ravel"; }));
  CHECK(shell->status().labels.empty());
}

TEST_CASE("plugin: a model with codes says how many, and how many bits a second they are") {
  const Folder folder;
  test::SampleOptions options;
  options.quantisers = 3;
  options.codes = 8;
  const Status status = playing(folder.write("codes.ravel", test::every_op(options).bytes()))->status();
  CHECK(status.quantisers == 3);
  CHECK(status.codes == 8);
  CHECK(status.bits_per_second == doctest::Approx(3 * 3 * 44100 / 16.0));  // hop: 4 bands, strides 2 and 2
  CHECK(playing(folder.write("plain.ravel", model_bytes()))->status().quantisers == 0);
}

TEST_CASE("plugin: models of the folder are chosen by number") {
  const Folder folder;
  folder.write("b.ravel", model_bytes(2));
  folder.write("notes.txt", std::string("no model"));
  const auto shell = playing(folder.write("a.ravel", model_bytes(1)));
  REQUIRE(shell->models() == std::vector<std::string>{folder / "a.ravel", folder / "b.ravel"});
  CHECK(shell->parameter(kModel) == 0);
  shell->set_parameter(kModel, 1);
  CHECK(soon([&] { return shell->status().path == folder / "b.ravel"; }));
  shell->set_parameter(kModel, 100);  // there is none: what plays goes on
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(shell->status().path == folder / "b.ravel");
  shell->open(folder / "a.ravel");
  CHECK(soon([&] { return shell->parameter(kModel) == 0; }));
}

TEST_CASE("plugin: a model that is later is prepared in silence, and the latency told") {
  const Folder folder;
  const auto shell = playing(folder.write("a.ravel", late_model(0)), Form::effect, kBlock);
  const std::string later = folder.write("b.ravel", late_model(480));
  const int before = shell->latency_samples();
  const Audio x = noise(kBlock);
  std::atomic<bool> stop{false};
  float jump = 0, last = 0;
  std::thread audio([&] {
    Audio ones{std::vector<float>(kBlock, 0.25F), std::vector<float>(kBlock, 0.25F)};
    bool warm = false;
    while (!stop) {
      const Audio y = play(*shell, ones);
      for (const float value : y[0]) {
        if (warm) jump = std::max(jump, std::abs(value - last));
        last = value;
        warm |= value == 0.25F;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  shell->open(later);
  CHECK(soon([&] { return shell->latency_samples() == before + 480; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  stop = true;
  audio.join();
  CHECK(jump < 0.02F);  // a fade of 20 ms over 0.25 is 0.0003 a sample, the cross-fade of an echo more
  CHECK(last == doctest::Approx(0.25F));
}

TEST_CASE("plugin: a project comes back as it was") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto shell = playing(path);
  play(*shell, noise(4096));
  shell->store_snapshot(0);
  play(*shell, noise(4096, 8));
  shell->store_snapshot(1);
  shell->learn(kMorph);
  play(*shell, noise(64), {64}, {controller(0, 33, 1)});
  const std::string model = shell->state("model"), project = shell->state("project");
  CHECK(model == path);
  // other hosts restore in another order
  for (const bool model_first : {true, false}) {
    Shell again(Form::effect);
    if (model_first) again.set_state("model", model);
    again.set_state("project", project);
    if (!model_first) again.set_state("model", model);
    again.set_parameter(kMorphing, 1);
    again.activate(kRate, kBlock);
    shell->set_parameter(kMorphing, 1);
    shell->set_parameter(kMorph, 0);
    shell->activate(kRate, kBlock);
    CHECK(again.status().path == path);
    CHECK(again.controller_of(kMorph) == 33);
    const Audio x = noise(4096);
    CHECK(play(again, x) == play(*shell, x));
    CHECK(same_latents(again, *shell));
    CHECK(again.state("project") == shell->state("project"));
  }
}

TEST_CASE("plugin: a model that was moved is found by its content, then by its name") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const std::string project = playing(path)->state("project");
  fs::create_directories(folder.path() / "elsewhere");
  SUBCASE("renamed, in the same folder") {
    fs::rename(path, folder / "renamed.ravel");
    Shell shell(Form::effect);
    shell.set_state("model", path);
    shell.set_state("project", project);
    CHECK(shell.status().path == folder / "renamed.ravel");
    CHECK(!shell.status().missing);
    CHECK(shell.status().message == "");
  }
  SUBCASE("moved to a known folder") {
    fs::rename(path, folder.path() / "elsewhere" / "a.ravel");
    setenv("RAVEL_MODELS", (folder / "nowhere" + ":" + folder / "elsewhere").c_str(), 1);
    Shell shell(Form::effect);
    shell.set_state("project", project);
    unsetenv("RAVEL_MODELS");
    CHECK(shell.status().path == folder / "elsewhere/a.ravel");
  }
  SUBCASE("replaced by another of the same name") {
    folder.write("a.ravel", model_bytes(5));
    Shell shell(Form::effect);
    shell.set_state("project", project);
    CHECK(shell.status().path == path);
    CHECK(shell.status().message.find("another file") != std::string::npos);
  }
}

TEST_CASE("plugin: without its model the sound passes dry, as late as the project was, until the model is there") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto before = playing(path);
  const std::string project = before->state("project");
  const auto late = static_cast<std::size_t>(before->latency_samples());
  fs::rename(path, folder / "hidden");
  Shell shell(Form::effect);
  shell.set_state("model", path);
  shell.set_state("project", project);
  shell.activate(kRate, kBlock);
  CHECK(shell.status().missing);
  CHECK(shell.status().message.find("a.ravel was not found") != std::string::npos);
  CHECK(static_cast<std::size_t>(shell.latency_samples()) == late);
  const Audio x = noise(4096), y = play(shell, x);
  for (std::size_t c = 0; c < 2; ++c)
    CHECK(std::equal(y[c].begin() + static_cast<std::ptrdiff_t>(late), y[c].end(), x[c].begin()));
  // a project saved meanwhile still names it
  CHECK(shell.state("project").find("a.ravel") != std::string::npos);
  fs::rename(folder / "hidden", path);
  shell.set_state("project", project);
  CHECK(!shell.status().missing);
  CHECK(shell.status().message == "");
  shell.activate(kRate, kBlock);
  before->activate(kRate, kBlock);
  CHECK(play(shell, x) == play(*before, x));
}

TEST_CASE("plugin: an embedded model needs no file") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto shell = playing(path);
  shell->set_embedded(true);
  CHECK(shell->status().embedded);
  const std::string project = shell->state("project");
  fs::remove(path);
  Shell again(Form::effect);
  again.set_state("model", path);
  again.set_state("project", project);
  again.activate(kRate, kBlock);
  CHECK(again.status().embedded);
  CHECK(!again.status().missing);
  shell->activate(kRate, kBlock);
  const Audio x = noise(4096);
  CHECK(play(again, x) == play(*shell, x));
  CHECK(again.state("project") == project);
}

TEST_CASE("plugin: a broken project changes nothing and says why") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto shell = playing(path);
  const std::string project = shell->state("project");
  const nlohmann::json good = nlohmann::json::parse(project);
  std::vector<std::string> broken = {"",
                                     "{",
                                     "[]",
                                     "null",
                                     "1e999",
                                     "\"text\"",
                                     std::string(100000, '['),
                                     "{\"format\":1}",
                                     R"({"format":"ravel preset","version":1})",
                                     R"({"format":"ravel project","version":99})",
                                     R"({"format":"ravel project","version":1,"model":[]})",
                                     R"({"format":"ravel project","version":1,"model":{"path":7}})",
                                     R"({"format":"ravel project","version":1,"embedded":"!!"})",
                                     R"({"format":"ravel project","version":1,"embedded":"AAAA"})",
                                     R"({"format":"ravel project","version":1,"latency_samples":-5})",
                                     R"({"format":"ravel project","version":1,"choice":1e30})",
                                     R"({"format":"ravel project","version":1,"snapshots":[[["x"]]]})",
                                     R"({"format":"ravel project","version":1,"snapshots":[1,2,3]})",
                                     R"({"format":"ravel project","version":1,"controllers":{"200":"morph"}})",
                                     R"({"format":"ravel project","version":1,"controllers":{"x":1}})"};
  std::mt19937 random(4);
  for (int i = 0; i < 60; ++i) {  // cut and scrambled
    std::string text = project.substr(0, random() % project.size());
    if (!text.empty() && i % 2) text[random() % text.size()] = static_cast<char>(random());
    broken.push_back(text);
  }
  for (const std::string& text : broken) {
    if (nlohmann::json::accept(text) && nlohmann::json::parse(text) == good) continue;
    CAPTURE(text.substr(0, 100));
    shell->set_state("project", text);
    CHECK(shell->status().path == path);
    CHECK(!shell->status().missing);
    CHECK(nlohmann::json::parse(shell->state("project")) == good);
    if (!text.empty()) CHECK(shell->status().message != "");
  }
  shell->set_state("nonsense", "value");
  shell->set_state("model", "");
  CHECK(shell->status().path == path);
}

TEST_CASE("plugin: a broken model file leaves what plays, and says why") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto shell = playing(path);
  std::vector<std::byte> half = model_bytes(3);
  half.resize(half.size() / 2);
  const std::string broken = folder.write("broken.ravel", half);
  shell->open(broken);
  CHECK(soon([&] { return shell->status().message.find("broken.ravel") != std::string::npos; }));
  CHECK(shell->status().path == path);
  CHECK(soon([&] { return !shell->status().loading; }));
  shell->open(folder / "nowhere.ravel");
  CHECK(soon([&] { return shell->status().message.find("nowhere.ravel") != std::string::npos; }));
  CHECK(shell->status().path == path);
  shell->activate(kRate, kBlock);
  CHECK(peak(play(*shell, noise(4096))) > 0);
}

TEST_CASE("plugin: a built-in model plays at once, and is no part of the project") {
  const std::vector<std::byte> bytes = model_bytes();
  Shell shell(Form::effect, bytes);
  shell.activate(kRate, kBlock);
  CHECK(shell.status().name != "");
  CHECK(shell.status().path == "");
  const Audio x = noise(4096);
  const Audio y = play(shell, x);
  CHECK(peak(y) > 0);
  Shell again(Form::effect, bytes);
  again.set_state("model", shell.state("model"));
  again.set_state("project", shell.state("project"));
  again.activate(kRate, kBlock);
  CHECK(!again.status().missing);
  CHECK(play(again, x) == y);
}

TEST_CASE("plugin: presets are files that come back, and broken ones change nothing") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  const auto shell = playing(path);
  shell->set_parameter(kMorph, 42);
  shell->set_parameter(id(2, kBias), -1.5F);
  shell->save_preset(folder / "a.ravelpreset");
  CHECK(!fs::exists(folder / "a.ravelpreset.part"));
  Shell again(Form::effect);
  const std::vector<float> values = again.load_preset(folder / "a.ravelpreset");
  REQUIRE(values.size() == kParameters);
  for (int i = 0; i < kParameters; ++i) CHECK(again.parameter(i) == shell->parameter(i));
  CHECK(again.parameter(kMorph) == 42);
  CHECK(again.status().path == path);
  for (const char* text : {"", "{}", "[1]", R"({"format":"ravel preset","version":1,"parameters":{"morph":"x"}})"}) {
    CHECK_THROWS_AS(again.load_preset(folder.write("b.ravelpreset", std::string(text))), Error);
    CHECK(again.parameter(kMorph) == 42);
  }
  CHECK_THROWS_AS(again.load_preset(folder / "nowhere"), Error);
  CHECK_THROWS_AS(again.save_preset(folder / "no such folder/a.ravelpreset"), Error);
  for (std::size_t i = 0; i < Shell::factory_presets().size(); ++i) {
    const auto preset = again.load_factory_preset(static_cast<int>(i));
    for (int p = 0; p < kParameters; ++p) CHECK(fitted(p, preset[static_cast<std::size_t>(p)]) == again.parameter(p));
  }
}

TEST_CASE("plugin: the display sees what was heard") {
  const Folder folder;
  const auto shell = playing(folder.write("a.ravel", model_bytes()));
  const Audio x = noise(2000), y = play(*shell, x);
  const Feed& feed = shell->feed();
  REQUIRE(feed.output.written() == 2000);
  for (std::uint64_t i = 0; i < 2000; i += 97) {
    CHECK(feed.input.at(i) == 0.5F * (x[0][i] + x[1][i]));
    CHECK(feed.output.at(i) == 0.5F * (y[0][i] + y[1][i]));
  }
  CHECK(feed.latents[0].written() > 2);
}

TEST_CASE("plugin: the callback neither allocates nor locks") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes());
  for (const Form form : {Form::effect, Form::instrument}) {
    const auto shell = playing(path, form);
    shell->learn(kDryWet);
    const std::vector<Midi> events = {note_on(3, 60), controller(10, 5, 3), note_off(100, 60), {200, {0xE0, 1, 2}}};
    const Audio x = noise(512);
    Audio y = x;
    const float* in[] = {x[0].data(), x[1].data()};
    float* out[] = {y[0].data(), y[1].data()};
    if (ravel_watch_enter) ravel_watch_enter();
    for (int i = 0; i < 50; ++i) {
      for (int p = kInputGain; p < kParameters; ++p) shell->set_parameter(p, static_cast<float>(i % 5));
      shell->process(in, out, 512, events);
    }
    const int calls = ravel_watch_leave ? ravel_watch_leave() : 0;
    CHECK_MESSAGE(calls == 0, (calls ? ravel_watch_first() : ""));
  }
}

TEST_CASE("plugin: host, interface and audio at once") {
  const Folder folder;
  const std::vector<std::string> paths = {folder.write("a.ravel", model_bytes(1)),
                                          folder.write("b.ravel", model_bytes(2)),
                                          folder.write("c.ravel", late_model(300)), folder / "nowhere.ravel"};
  for (const Form form : {Form::effect, Form::instrument}) {
    const auto shell = playing(paths[0], form, kBlock);
    const std::string project = shell->state("project");
    std::atomic<bool> stop{false};
    std::atomic<int> rounds{0};
    std::thread audio([&] {
      std::mt19937 random(1);
      while (!stop) {
        const int frames = 1 + static_cast<int>(random() % 700);
        const Audio y =
            play(*shell, noise(frames), {frames},
                 {note_on(0, static_cast<int>(random() % 128)), controller(0, static_cast<int>(random() % 128), 9),
                  note_off(frames - 1, static_cast<int>(random() % 128))});
        for (const auto& row : y) {
          if (!std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); })) return;
        }
        ++rounds;
      }
    });
    std::thread automation([&] {
      std::mt19937 random(2);
      while (!stop)
        shell->set_parameter(static_cast<int>(random() % kParameters), static_cast<float>(random() % 100) / 10 - 2);
    });
    std::thread display([&] {
      std::mt19937 random(3);
      std::array<int, 16> moved{};
      while (!stop) {
        const Status status = shell->status();
        shell->take_moved(moved.data(), 16);
        shell->learn(static_cast<int>(random() % kParameters));
        shell->store_snapshot(static_cast<int>(random() % 2));
        if (random() % 7 == 0) shell->recall_snapshot(static_cast<int>(random() % 2));
        shell->feed().output.at(shell->feed().output.written());
        if (random() % 50 == 0) shell->open(paths[random() % paths.size()]);
      }
    });
    std::mt19937 random(4);
    for (int i = 0; i < 12; ++i) {
      shell->set_state("model", paths[random() % paths.size()]);
      if (i % 3 == 0) shell->set_state("project", project);
      if (i % 3 == 1) shell->set_state("project", shell->state("project"));
      if (i % 4 == 0) shell->activate(i % 8 ? 48000 : 44100, kBlock);
      shell->set_offline(i % 5 == 2);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(soon([&] { return rounds > 20; }));
    stop = true;
    audio.join();
    automation.join();
    display.join();
  }
}

TEST_CASE("plugin: a render comes out the same every time, whatever is automated") {
  const Folder folder;
  const std::string path = folder.write("a.ravel", model_bytes(1));
  folder.write("b.ravel", late_model(200));
  const Audio x = noise(256);
  std::vector<std::vector<Audio>> renders;
  for (int round = 0; round < 3; ++round) {
    Shell shell(Form::effect);
    shell.set_offline(true);
    shell.open(path);
    shell.activate(kRate, 256);
    shell.set_parameter(kStereo, 1);  // before the first block: from its first sample on
    auto& heard = renders.emplace_back();
    for (int block = 0; block < 60; ++block) {
      if (block == 10) shell.set_parameter(kMode, 2);
      if (block == 25) shell.set_parameter(kModel, 1);
      if (block == 40) shell.set_parameter(kStereo, 2);
      heard.push_back(play(shell, x, {256}));
      if (round == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    CHECK(shell.status().path == folder / "b.ravel");
  }
  CHECK(renders[0] == renders[1]);
  CHECK(renders[0] == renders[2]);
}
