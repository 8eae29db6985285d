// What an Engine forwards to: one method of a model, running, as compiled ops or as a script.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "ravel/engine.h"

namespace ravel::engine {

// What a performer may turn while it plays.
struct Controls {
  float temperature = 0;
  float fill = 0;
  bool noise = true;
  std::int64_t seed = 0;
  std::vector<float> scale, bias;  // a latent
  std::vector<float> labels;       // weights
  float prior = 0, prior_temperature = 1;
  LatentHook hook;
};

// The functions are those of Engine.
class Running {
 public:
  Running(std::shared_ptr<const Model> model_, Method method_, const Settings& settings_)
      : model(std::move(model_)), method(method_), settings(settings_) {}
  virtual ~Running() = default;
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  virtual void process(const float* const* in, float* const* out, int hops) noexcept = 0;
  virtual void begin(const float* const* /*in*/) noexcept {}
  virtual void advance() noexcept {}
  virtual void end(float* const* /*out*/) noexcept {}
  virtual void reset() noexcept = 0;
  virtual Controls& controls() noexcept = 0;
  virtual void reseed() noexcept {}

  virtual void set_attribute(const std::string& /*name*/, const Values& /*values*/) {}
  virtual Values attribute(const std::string& /*name*/) { return {}; }

  virtual std::size_t history_bytes() const noexcept = 0;
  virtual std::vector<OpInfo> ops() const { return {}; }
  virtual std::vector<float> latest(int /*op*/) const { return {}; }
  virtual void process_timed(const float* const* in, float* const* out, int hops, double* /*seconds*/) {
    process(in, out, hops);
  }

  const std::shared_ptr<const Model> model;
  const Method method;
  const Settings settings;
  int in_frames = 0, out_frames = 0;  // a hop
  int late_slices = 0;                // slices by which the output is late
  MessageHook messages;
};

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

}  // namespace ravel::engine
