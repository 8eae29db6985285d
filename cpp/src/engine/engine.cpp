// The engine: a runner, driven by whole hops or slice by slice, or a script.
#include "ravel/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/runner.h"
#include "engine/running.h"
#include "engine/schedule.h"
#include "model/attributes.h"
#include "script/script.h"

namespace ravel {

namespace {

constexpr int kMostStreams = 1024, kMostHops = 1024;

void require(bool sound, const std::string& message) {
  if (!sound) throw Error("engine: " + message);
}

void check(const engine::Program& program, int hop_samples, const Settings& s) {
  require(s.streams >= 1 && s.streams <= kMostStreams,
          "streams: 1 to " + std::to_string(kMostStreams) + ", got " + std::to_string(s.streams));
  require(s.max_hops >= 1 && s.max_hops <= kMostHops,
          "max_hops: 1 to " + std::to_string(kMostHops) + ", got " + std::to_string(s.max_hops));
  require(
      s.slices >= 0 && (s.slices == 0 || hop_samples % s.slices == 0),
      "slices: a divisor of the hop of " + std::to_string(hop_samples) + " samples, got " + std::to_string(s.slices));
  require(s.slices == 0 || (s.core_slices >= 1 && s.core_slices <= s.slices),
          "core_slices: 1 to " + std::to_string(s.slices) + ", got " + std::to_string(s.core_slices));
  double bytes = 0;
  for (const auto& buffer : program.buffers) {
    bytes += 4.0 * buffer.width * buffer.planes * (buffer.history + 2.0 * buffer.frames * s.max_hops) * s.streams;
  }
  constexpr double kMostBytes = 16e9;
  require(bytes < kMostBytes, std::to_string(s.streams) + " streams of " + std::to_string(s.max_hops) + " hops need " +
                                  std::to_string(bytes / 1e9) + " GB; choose fewer");
}

// The ops of a compiled graph.
class Ops final : public engine::Running {
 public:
  Ops(std::shared_ptr<const Model> model_, Method method_, const Settings& settings_)
      : Running(std::move(model_), method_, settings_),
        blueprint_(model->blueprint()),
        program_(blueprint_.programs[static_cast<std::size_t>(method_)]) {
    require(!program_.ops.empty(), model->info().name + " has no method " + name(method) +
                                       "; `ravel train-prior` teaches one, and an export after it takes it along");
    check(program_, model->info().hop_samples, settings);
    if (settings.slices > 0)
      plan_ = engine::schedule(program_, blueprint_.weights, settings.slices, settings.core_slices);
    runner_ = std::make_unique<engine::Runner>(blueprint_, program_, settings.streams, settings.max_hops, late_rows());
    controls().temperature = model->info().temperature;
    controls().scale.assign(model->info().latents, 1.0f);
    controls().bias.assign(model->info().latents, 0.0f);
    controls().labels.assign(model->info().labels.size(), 0.0f);
    if (!controls().labels.empty()) controls().labels[0] = 1;
    in_frames = program_.in_frames;
    out_frames = program_.out_frames;
    late_slices = settings.slices == 0 ? 0 : core_start() + settings.core_slices - 1;
  }

  engine::Controls& controls() noexcept override { return runner_->controls; }
  void reseed() noexcept override { runner_->reseed(); }
  std::size_t history_bytes() const noexcept override { return runner_->bytes(); }

  void reset() noexcept override {
    runner_->reset();
    slice_ = 0;
  }

  void process(const float* const* in, float* const* out, int hops) noexcept override {
    run_hops(in, out, hops, [](int) {});
  }

  void process_timed(const float* const* in, float* const* out, int hops, double* seconds) override {
    auto before = std::chrono::steady_clock::now();
    run_hops(in, out, hops, [&](int op) {
      const auto after = std::chrono::steady_clock::now();
      if (op >= 0) seconds[op] += std::chrono::duration<double>(after - before).count();
      before = after;
    });
  }

  void begin(const float* const* in) noexcept override {
    const engine::FlushDenormals flush(*blueprint_.kernels);
    if (takes_audio(method)) {
      runner_->take(in, in_frames / settings.slices);
    } else if (slice_ % settings.slices == 0) {
      runner_->take(in, in_frames);
    }
    for (int i = 0; i < plan_.early; ++i) runner_->run(i, program_.ops[i].rows_in / settings.slices);
  }

  void advance() noexcept override {
    const engine::FlushDenormals flush(*blueprint_.kernels);
    const std::int64_t since = slice_ - core_start();
    if (since < 0) return;
    const std::int64_t share = since % settings.slices;
    if (share >= settings.core_slices) return;
    for (const engine::Unit& unit : plan_.shares[static_cast<std::size_t>(share)]) {
      runner_->run(unit, program_.ops[unit.op].rows_in);
    }
  }

  void end(float* const* out) noexcept override {
    const engine::FlushDenormals flush(*blueprint_.kernels);
    const std::int64_t ready = slice_ - late_slices;
    ++slice_;
    const int rows = gives_audio(method) ? out_frames / settings.slices : 1;
    if (ready < 0) {
      for (int i = 0; i < settings.streams * program_.out_channels; ++i) std::fill_n(out[i], rows, 0.0f);
      return;
    }
    for (int i = plan_.late; i < op_count(); ++i) runner_->run(i, program_.ops[i].rows_in / settings.slices);
    runner_->give(gives_audio(method) ? ready * rows : ready / settings.slices, rows, out);
  }

  std::vector<float> latest(int op) const override {
    require(op >= 0 && op < op_count(), "there are ops 0 to " + std::to_string(op_count() - 1));
    return runner_->latest(op);
  }

  std::vector<OpInfo> ops() const override {
    static constexpr const char* kStages[] = {"early", "core", "late"};
    std::vector<OpInfo> ops;
    for (int i = 0; i < op_count(); ++i) {
      const engine::Op& op = program_.ops[i];
      ops.push_back({op.name, engine::name(op.kind), op.flops, op.weight_bytes, kStages[stage(i)]});
    }
    return ops;
  }

 private:
  // Every op over all hops; those of a prior hop by hop. Calls done(op) after each, and done(-1) before the first.
  template <class Done>
  void run_hops(const float* const* in, float* const* out, int hops, Done done) noexcept {
    const engine::FlushDenormals flush(*blueprint_.kernels);
    const std::int64_t first = runner_->rows_ready();
    runner_->take(in, in_frames * hops);
    done(-1);
    const auto run = [&](int from, int to, int count) {
      for (int i = from; i < to; ++i) {
        runner_->run(i, program_.ops[i].rows_in * count);
        done(i);
      }
    };
    run(0, program_.first_of_prior, hops);
    runner_->reserve_prior(hops);
    for (int hop = 0; hop < hops; ++hop) run(program_.first_of_prior, program_.after_prior, 1);
    run(program_.after_prior, op_count(), hops);
    runner_->give(first, out_frames * hops, out);
  }

  // Which stage an op runs in: 0 early, 1 core, 2 late. The caller's side counts as early or late.
  int stage(int op) const { return op < plan_.early ? 0 : op < plan_.late ? 1 : 2; }

  // Rows that wait for readers of a later stage: up to a hop being collected and one being worked on for each step.
  std::vector<int> late_rows() const {
    std::vector<int> late(program_.buffers.size(), 0);
    if (settings.slices == 0) return late;
    std::vector<int> written(program_.buffers.size(), 0);
    for (int i = 0; i < op_count(); ++i) {
      for (const int b : {program_.ops[i].raw, program_.ops[i].act, program_.ops[i].noise_buffer}) {
        if (b >= 0) written[b] = stage(i);
      }
    }
    const auto wait = [&](int buffer, int reader) {
      if (buffer >= 0)
        late[buffer] = std::max(late[buffer], 2 * program_.buffers[buffer].frames * (reader - written[buffer]));
    };
    for (int i = 0; i < op_count(); ++i) {
      wait(program_.ops[i].a.buffer, stage(i));
      wait(program_.ops[i].b.buffer, stage(i));
      wait(program_.ops[i].warmth.buffer, stage(i));
    }
    wait(program_.output.buffer, 2);
    return late;
  }

  int op_count() const { return static_cast<int>(program_.ops.size()); }
  // The slice of a hop in which its core begins: with the last audio, or with the latent frame.
  int core_start() const { return takes_audio(method) ? settings.slices - 1 : 0; }

  const engine::Blueprint& blueprint_;
  const engine::Program& program_;
  engine::Schedule plan_;
  std::unique_ptr<engine::Runner> runner_;
  std::int64_t slice_ = 0;  // since the reset
};

std::unique_ptr<engine::Running> make(std::shared_ptr<const Model> model, Method method, const Settings& settings) {
  if (model->script()) return script::run(model, method, settings);
  return std::make_unique<Ops>(std::move(model), method, settings);
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, Method method, const Settings& settings)
    : running_(make(std::move(model), method, settings)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

void Engine::prepare(const Settings& settings) {
  auto next = make(running_->model, running_->method, settings);
  next->controls() = running_->controls();
  next->messages = running_->messages;
  next->reset();
  running_ = std::move(next);
}

void Engine::process(const float* const* in, float* const* out, int hops) noexcept { running_->process(in, out, hops); }
void Engine::process_timed(const float* const* in, float* const* out, int hops, double* seconds) {
  running_->process_timed(in, out, hops, seconds);
}

void Engine::begin(const float* const* in) noexcept { running_->begin(in); }
void Engine::advance() noexcept { running_->advance(); }
void Engine::end(float* const* out) noexcept { running_->end(out); }
void Engine::reset() noexcept { running_->reset(); }

void Engine::set_temperature(float value) noexcept { running_->controls().temperature = value; }
void Engine::set_fill(float value) noexcept { running_->controls().fill = value; }
void Engine::set_noise(bool on) noexcept { running_->controls().noise = on; }
void Engine::set_seed(std::int64_t seed) noexcept {
  running_->controls().seed = seed;
  running_->reseed();
}
void Engine::set_scale(int latent, float value) noexcept {
  auto& scale = running_->controls().scale;
  if (latent >= 0 && latent < static_cast<int>(scale.size())) scale[static_cast<std::size_t>(latent)] = value;
}
void Engine::set_bias(int latent, float value) noexcept {
  auto& bias = running_->controls().bias;
  if (latent >= 0 && latent < static_cast<int>(bias.size())) bias[static_cast<std::size_t>(latent)] = value;
}

void Engine::set_label_weight(int label, float weight) noexcept {
  auto& labels = running_->controls().labels;
  if (label >= 0 && label < static_cast<int>(labels.size())) labels[static_cast<std::size_t>(label)] = weight;
}

void Engine::set_prior(float amount) noexcept { running_->controls().prior = std::clamp(amount, 0.0f, 1.0f); }
void Engine::set_prior_temperature(float value) noexcept { running_->controls().prior_temperature = value; }
void Engine::set_latent_hook(const LatentHook& hook) noexcept { running_->controls().hook = hook; }
void Engine::set_message_hook(const MessageHook& hook) noexcept { running_->messages = hook; }

void Engine::set_attribute(const std::string& name, const Values& values) {
  const AttributeInfo& about = find_attribute(running_->model->info(), name);
  running_->set_attribute(name, fitted(about, values));
}

Values Engine::attribute(const std::string& name) {
  find_attribute(running_->model->info(), name);
  return running_->attribute(name);
}

const Settings& Engine::settings() const noexcept { return running_->settings; }
int Engine::in_frames() const noexcept { return running_->in_frames; }
int Engine::out_frames() const noexcept { return running_->out_frames; }
int Engine::delay() const noexcept {
  const MethodInfo& info = running_->model->info().method(running_->method);
  return info.delay_samples / info.out_ratio;
}
int Engine::sliced_delay_samples() const noexcept {
  if (running_->settings.slices == 0) return 0;
  return running_->late_slices * (running_->model->info().hop_samples / running_->settings.slices);
}
std::size_t Engine::history_bytes() const noexcept { return running_->history_bytes(); }
std::vector<OpInfo> Engine::ops() const { return running_->ops(); }
std::vector<float> Engine::latest(int op) const { return running_->latest(op); }

}  // namespace ravel
