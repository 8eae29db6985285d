// An engine with the performer's controls: hops or slices in, finite numbers out; on whichever thread runs it.
#pragma once

#include <memory>
#include <vector>

#include "player/board.h"
#include "player/ramp.h"
#include "player/shaper.h"
#include "ravel/engine.h"

namespace ravel::player {

class Core {
 public:
  Core(const std::shared_ptr<const Model>& model, Method method, const Settings& settings, Board& board);

  void run(const float* const* in, float* const* out, int hops) noexcept;
  void slice(const float* const* in, float* const* out) noexcept;
  void reset() noexcept;

  const Engine& engine() const noexcept { return engine_; }
  Shaper& shaper() noexcept { return shaper_; }

 private:
  bool follow() noexcept;  // the controls for the next hop; true: they stand still
  void follow_attributes() noexcept;
  bool follow_labels() noexcept;
  bool silence_unless_finite(float* const* out, int rows) noexcept;

  Board& board_;
  int in_channels_, out_channels_;  // all streams
  int ramp_hops_;
  float model_temperature_;
  const Info& info_;  // of the model that the engine holds
  Engine engine_;
  Shaper shaper_;
  Ramp temperature_, fill_, prior_, prior_temperature_;
  std::vector<Ramp> labels_;
  std::int64_t seed_ = 0;
  const bool script_;
  std::int64_t attributes_seen_ = 0;
  int slice_ = 0;
  bool poisoned_ = false;
  std::vector<const float*> in_;
  std::vector<float*> out_;
};

}  // namespace ravel::player
