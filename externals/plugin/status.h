// What is known of the model that plays, or why none does: for a display.
#pragma once

#include <string>
#include <vector>

#include "ravel/player.h"

namespace ravel::plugin {

struct Status {
  std::string name, path, preset, note;  // note: what it was trained on
  int sample_rate_hz = 0, channels = 0, latents = 0;
  int quantisers = 0, codes = 0;  // 0: it has none
  double bits_per_second = 0;     // of the codes, as they are
  std::vector<std::string> labels;
  bool prior = false;  // it can play by itself
  std::vector<float> fidelity_curve;
  int latency_samples = 0;
  float load = 0, worst_load = 0;
  Mode mode = Mode::automatic;
  bool loading = false, embedded = false;
  bool missing = false;  // the project names a model that was not found: audio passes dry
  std::string message;   // the newest error or warning; empty: all is well
};

inline bool has_prior(const Info& model) noexcept { return model.method(Method::prior).in_channels > 0; }

// What a model says of itself; the rest is nothing yet.
Status status_of(const Info& model);

}  // namespace ravel::plugin
