// The engine: a runner, driven by whole hops or slice by slice.
#include "ravel/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/runner.h"
#include "engine/schedule.h"

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

// Denormal numbers cost a hundred times as much as others, and nobody hears them.
class FlushDenormals {
 public:
  explicit FlushDenormals(const kernels::Table& table) noexcept : table_(table), control_(table.flush_denormals()) {}
  ~FlushDenormals() { table_.restore_denormals(control_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  const kernels::Table& table_;
  std::uint64_t control_;
};

}  // namespace

struct Engine::Impl {
  Impl(std::shared_ptr<const Model> model_, Method method_, const Settings& settings_)
      : model(std::move(model_)),
        blueprint(model->blueprint()),
        program(blueprint.programs[static_cast<std::size_t>(method_)]),
        method(method_),
        settings(settings_) {
    check(program, model->info().hop_samples, settings);
    if (settings.slices > 0) plan = engine::schedule(program, blueprint.weights, settings.slices, settings.core_slices);
    runner = std::make_unique<engine::Runner>(blueprint, program, settings.streams, settings.max_hops, late_rows());
    runner->controls.temperature = model->info().temperature;
    runner->controls.scale.assign(model->info().latents, 1.0f);
    runner->controls.bias.assign(model->info().latents, 0.0f);
  }

  // Which stage an op runs in: 0 early, 1 core, 2 late. The caller's side counts as early or late.
  int stage(int op) const { return op < plan.early ? 0 : op < plan.late ? 1 : 2; }

  // Rows that wait for readers of a later stage: up to a hop being collected and one being worked on for each step.
  std::vector<int> late_rows() const {
    std::vector<int> late(program.buffers.size(), 0);
    if (settings.slices == 0) return late;
    std::vector<int> written(program.buffers.size(), 0);
    for (int i = 0; i < static_cast<int>(program.ops.size()); ++i) {
      for (const int b : {program.ops[i].raw, program.ops[i].act, program.ops[i].noise_buffer}) {
        if (b >= 0) written[b] = stage(i);
      }
    }
    const auto wait = [&](int buffer, int reader) {
      if (buffer >= 0)
        late[buffer] = std::max(late[buffer], 2 * program.buffers[buffer].frames * (reader - written[buffer]));
    };
    for (int i = 0; i < static_cast<int>(program.ops.size()); ++i) {
      wait(program.ops[i].a.buffer, stage(i));
      wait(program.ops[i].b.buffer, stage(i));
    }
    wait(program.output.buffer, 2);
    return late;
  }

  int op_count() const { return static_cast<int>(program.ops.size()); }
  bool takes_audio() const { return method != Method::decode; }
  bool gives_audio() const { return method != Method::encode; }
  // The slice of a hop in which its core begins: with the last audio, or with the latent frame.
  int core_start() const { return takes_audio() ? settings.slices - 1 : 0; }
  // Slices by which the output is late.
  int late_slices() const { return settings.slices == 0 ? 0 : core_start() + settings.core_slices - 1; }

  void restart() noexcept {
    runner->reset();
    slice = 0;
  }

  std::shared_ptr<const Model> model;
  const engine::Blueprint& blueprint;
  const engine::Program& program;
  Method method;
  Settings settings;
  engine::Schedule plan;
  std::unique_ptr<engine::Runner> runner;
  std::int64_t slice = 0;  // since the reset
};

Engine::Engine(std::shared_ptr<const Model> model, Method method, const Settings& settings)
    : impl_(std::make_unique<Impl>(std::move(model), method, settings)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

void Engine::prepare(const Settings& settings) {
  auto next = std::make_unique<Impl>(impl_->model, impl_->method, settings);
  next->runner->controls = impl_->runner->controls;
  next->restart();
  impl_ = std::move(next);
}

void Engine::process(const float* const* in, float* const* out, int hops) noexcept {
  Impl& e = *impl_;
  const FlushDenormals flush(*e.blueprint.kernels);
  const std::int64_t first = e.runner->rows_ready();
  e.runner->take(in, e.program.in_frames * hops);
  for (int i = 0; i < e.op_count(); ++i) e.runner->run(i, e.program.ops[i].rows_in * hops);
  e.runner->give(first, e.program.out_frames * hops, out);
}

void Engine::process_timed(const float* const* in, float* const* out, int hops, double* seconds) {
  Impl& e = *impl_;
  const FlushDenormals flush(*e.blueprint.kernels);
  const std::int64_t first = e.runner->rows_ready();
  e.runner->take(in, e.program.in_frames * hops);
  auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < e.op_count(); ++i) {
    e.runner->run(i, e.program.ops[i].rows_in * hops);
    const auto after = std::chrono::steady_clock::now();
    seconds[i] += std::chrono::duration<double>(after - before).count();
    before = after;
  }
  e.runner->give(first, e.program.out_frames * hops, out);
}

void Engine::begin(const float* const* in) noexcept {
  Impl& e = *impl_;
  const FlushDenormals flush(*e.blueprint.kernels);
  if (e.takes_audio()) {
    e.runner->take(in, e.program.in_frames / e.settings.slices);
  } else if (e.slice % e.settings.slices == 0) {
    e.runner->take(in, e.program.in_frames);
  }
  for (int i = 0; i < e.plan.early; ++i) e.runner->run(i, e.program.ops[i].rows_in / e.settings.slices);
}

void Engine::advance() noexcept {
  Impl& e = *impl_;
  const FlushDenormals flush(*e.blueprint.kernels);
  const std::int64_t since = e.slice - e.core_start();
  if (since < 0) return;
  const std::int64_t share = since % e.settings.slices;
  if (share >= e.settings.core_slices) return;
  for (const engine::Unit& unit : e.plan.shares[static_cast<std::size_t>(share)]) {
    e.runner->run(unit, e.program.ops[unit.op].rows_in);
  }
}

void Engine::end(float* const* out) noexcept {
  Impl& e = *impl_;
  const FlushDenormals flush(*e.blueprint.kernels);
  const std::int64_t ready = e.slice - e.late_slices();
  ++e.slice;
  const int rows = e.gives_audio() ? e.program.out_frames / e.settings.slices : 1;
  if (ready < 0) {
    for (int i = 0; i < e.settings.streams * e.program.out_channels; ++i) std::fill_n(out[i], rows, 0.0f);
    return;
  }
  for (int i = e.plan.late; i < e.op_count(); ++i) e.runner->run(i, e.program.ops[i].rows_in / e.settings.slices);
  e.runner->give(e.gives_audio() ? ready * rows : ready / e.settings.slices, rows, out);
}

void Engine::reset() noexcept { impl_->restart(); }

void Engine::set_temperature(float value) noexcept { impl_->runner->controls.temperature = value; }
void Engine::set_fill(float value) noexcept { impl_->runner->controls.fill = value; }
void Engine::set_noise(bool on) noexcept { impl_->runner->controls.noise = on; }
void Engine::set_seed(std::int64_t seed) noexcept {
  impl_->runner->controls.seed = seed;
  impl_->runner->reseed();
}
void Engine::set_scale(int latent, float value) noexcept {
  auto& scale = impl_->runner->controls.scale;
  if (latent >= 0 && latent < static_cast<int>(scale.size())) scale[static_cast<std::size_t>(latent)] = value;
}
void Engine::set_bias(int latent, float value) noexcept {
  auto& bias = impl_->runner->controls.bias;
  if (latent >= 0 && latent < static_cast<int>(bias.size())) bias[static_cast<std::size_t>(latent)] = value;
}

void Engine::set_latent_hook(const LatentHook& hook) noexcept { impl_->runner->controls.hook = hook; }

const Settings& Engine::settings() const noexcept { return impl_->settings; }
int Engine::in_frames() const noexcept { return impl_->program.in_frames; }
int Engine::out_frames() const noexcept { return impl_->program.out_frames; }
int Engine::delay() const noexcept {
  const MethodInfo& info = impl_->model->info().method(impl_->method);
  return info.delay_samples / info.out_ratio;
}
int Engine::sliced_delay_samples() const noexcept {
  if (impl_->settings.slices == 0) return 0;
  return impl_->late_slices() * (impl_->model->info().hop_samples / impl_->settings.slices);
}
std::size_t Engine::history_bytes() const noexcept { return impl_->runner->bytes(); }

std::vector<OpInfo> Engine::ops() const {
  static constexpr const char* kStages[] = {"early", "core", "late"};
  std::vector<OpInfo> ops;
  for (int i = 0; i < impl_->op_count(); ++i) {
    const engine::Op& op = impl_->program.ops[i];
    ops.push_back({op.name, engine::name(op.kind), op.flops, op.weight_bytes, kStages[impl_->stage(i)]});
  }
  return ops;
}

}  // namespace ravel
