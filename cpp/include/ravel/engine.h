// One method of a model, running: the histories of one or several streams over shared weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ravel/model.h"
#include "ravel/nonblocking.h"

namespace ravel {

struct Settings {
  int streams = 1;   // independent inputs, run side by side over the same weights
  int max_hops = 1;  // most hops that one `process` call brings
  // Sliced running: a hop is cut into `slices` callbacks of equal length, and the core of the network is spread over
  // `core_slices` of them, which costs core_slices - 1 slices of latency. 0: only `process` is used.
  int slices = 0;
  int core_slices = 1;
};

// Sees every latent frame of every stream between encoding and decoding (what `encode` gives, what the decoder gets) and
// may change it; called within `process` or `advance`.
struct LatentHook {
  void* self = nullptr;
  void (*edit)(void* self, float* z, int latents, int stream) noexcept = nullptr;
};

// Hears what a script has to say when something in it fails; called within `process` or `reset`.
struct MessageHook {
  void* self = nullptr;
  void (*say)(void* self, const char* text) noexcept = nullptr;
};

// One step of the schedule, for profiles.
struct OpInfo {
  std::string name, kind;  // node in the model, what it does
  double flops = 0;        // a hop and stream
  double weight_bytes = 0;
  std::string stage;  // early, core or late
};

namespace engine {
class Running;
}

class Engine {
 public:
  // Throws Error for settings that do not fit the model. Allocates; not for the audio thread.
  Engine(std::shared_ptr<const Model> model, Method method, const Settings& settings = {});
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  // Allocates for other settings and resets.
  void prepare(const Settings& settings);

  // Everything below is for the audio thread: no allocation, lock or system call. A script keeps to none of that: it
  // wants a thread of its own, takes whole hops only, and is silent where something in it fails.

  // `hops` whole hops, 1 to max_hops. in[stream * in_channels + channel] points at hops * in_frames() values, out alike;
  // they must not overlap. NaN and infinity in audio or latents count as 0.
  void process(const float* const* in, float* const* out, int hops) noexcept RAVEL_NONBLOCKING;

  // One callback of the sliced schedule is begin, advance, end. `begin` takes the slice's share of audio and runs the
  // layers that keep up with it; `advance` does a share of the core; `end` runs the last layers and gives the slice's
  // share of audio. A latent frame is read in the first slice of a hop, and the newest one is given in every slice.
  // The same samples as `process`, sliced_delay_samples() later; between resets, use one or the other.
  void begin(const float* const* in) noexcept RAVEL_NONBLOCKING;
  void advance() noexcept RAVEL_NONBLOCKING;
  void end(float* const* out) noexcept RAVEL_NONBLOCKING;

  // Histories to silence, noise to its start, the sliced schedule to the first slice.
  void reset() noexcept RAVEL_NONBLOCKING;

  // Of the latent when encoding: 0 plays the mean.
  void set_temperature(float value) noexcept RAVEL_NONBLOCKING;
  // Latents that were not exported: 0 rests them, 1 lets them wander.
  void set_fill(float value) noexcept RAVEL_NONBLOCKING;
  // The filtered-noise part of the sound.
  void set_noise(bool on) noexcept RAVEL_NONBLOCKING;
  void set_seed(std::int64_t seed) noexcept RAVEL_NONBLOCKING;
  // latent * scale + bias before decoding.
  void set_scale(int latent, float value) noexcept RAVEL_NONBLOCKING;
  void set_bias(int latent, float value) noexcept RAVEL_NONBLOCKING;
  // Of a model with labels: the weight of one in what plays, a blend. At first the first plays alone.
  void set_label_weight(int label, float weight) noexcept RAVEL_NONBLOCKING;
  // Of a model with a prior: how much of what plays is the prior's, 0 the encoder's (or what `decode` is given) to 1 the
  // prior's alone. Below 1 it hears every frame that goes in with the probability 1 - amount, and else what it drew.
  void set_prior(float amount) noexcept RAVEL_NONBLOCKING;
  // How freely it goes on: 0 the likeliest, 1 as it learned.
  void set_prior_temperature(float value) noexcept RAVEL_NONBLOCKING;
  // After scale and bias.
  void set_latent_hook(const LatentHook& hook) noexcept RAVEL_NONBLOCKING;
  void set_message_hook(const MessageHook& hook) noexcept;

  // Attributes of a script, between two calls of `process`, on its thread. Throws Error: no such attribute, other types,
  // or the script refuses the values.
  void set_attribute(const std::string& name, const Values& values);
  Values attribute(const std::string& name);

  const Settings& settings() const noexcept;
  int in_frames() const noexcept;             // of one hop
  int out_frames() const noexcept;            // of one hop
  int delay() const noexcept;                 // output frames by which `process` is late
  int sliced_delay_samples() const noexcept;  // by which the slices are later, waiting for a whole hop included
  std::size_t history_bytes() const noexcept;

  // Not for the audio thread: the schedule, and one `process` call with the seconds of every op added to `seconds`.
  std::vector<OpInfo> ops() const;
  void process_timed(const float* const* in, float* const* out, int hops, double* seconds);
  // Likewise, of one of `ops`: the newest row of its result, stream after stream. Empty where that is not kept, being
  // activated or rounded at once. Throws Error for another number.
  std::vector<float> latest(int op) const;

 private:
  std::unique_ptr<engine::Running> running_;
};

}  // namespace ravel
