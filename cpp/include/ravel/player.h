// What every host shell shares: any block size and rate in front of a model, exact latency, a performer's controls.
//
// Words: control thread = the host's main thread (calls may allocate and block); audio thread = `process`.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ravel/engine.h"
#include "ravel/model.h"

namespace ravel {

// How a hop is computed. Automatic is a pure function of the model's costs, hop, block and rate: inline where a whole
// hop fits its block, else sliced; never threaded. TorchScript is threaded, whatever was asked for.
enum class Mode { automatic, inline_, sliced, threaded };

const char* name(Mode mode) noexcept;
Mode mode_from_name(const std::string& name);  // throws Error listing the names

struct Host {
  double sample_rate_hz = 48000;
  int max_block = 512;  // largest `process` call that comes without being cut
  int fixed_block = 0;  // 0: any sizes; else every call has exactly this many frames, which shortens the latency
  int in_channels = 1;  // audio: of the host's bus; latents (decode): one a latent
  int out_channels = 1;
  bool offline = false;  // not real time: a worker is waited for
};

// Continuous controls, ramped; every one may be set from any thread.
enum class Control {
  input_gain_db,      // -60 .. 24, default 0
  output_gain_db,     // -60 .. 24, default 0
  drywet,             // 0 dry .. 1 wet, default 1; the dry path is as late as the wet one
  temperature,        // 0 .. 10: randomness of the latent when encoding, default the model's
  noise_latent,       // 0 .. 10: N(0, 1) of this size added to every latent, default 0
  fill,               // 0 .. 10: latents that were not exported
  morph,              // 0 snapshot A .. 1 snapshot B, heard while `morphing` is on
  width,              // 0 mono .. 1 as is .. 2 wide, of stereo output
  prior,              // of a model with a prior: 0 the encoder plays .. 1 the prior plays by itself
  prior_temperature,  // 0 .. 10: 0 the likeliest, default 1
  count_
};

struct ControlInfo {
  const char* name;
  const char* unit;
  float minimum, maximum, initial;
};
const ControlInfo& info(Control control) noexcept;

enum class Switch { bypass, freeze, noise, morphing, count_ };  // noise: the filtered-noise part of the sound, on
const char* name(Switch which) noexcept;

// What shapes one latent: value * scale + bias, or the override where it is on.
struct LatentControl {
  float scale = 1, bias = 0, override_value = 0;
  bool override_on = false;
};

// Read from any thread; written by the audio thread.
struct Meters {
  std::atomic<float> input_peak{0}, output_peak{0};  // linear, since the last read of `take_peaks`
  std::atomic<float> load{0};                        // share of the deadline, smoothed
  std::atomic<float> worst_load{0};                  // the largest since `reset_meters`
  std::atomic<std::uint64_t> late_hops{0};           // threaded: hops that missed their time
};

class Player {
 public:
  explicit Player(Method method = Method::forward);
  ~Player();
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  // ---- control thread

  // Allocates for a host; the latency is constant until the next `prepare`. Not while `process` runs.
  void prepare(const Host& host);
  void set_mode(Mode mode, int core_slices = 0);  // takes effect at the next `prepare`; 0: as flat as possible
  void set_method(Method method);                 // likewise

  // Loads in the background and cross-fades to the new model; what plays goes on until then, and for good if loading
  // fails. `wait`: returns when it is done, and false if it failed. One model file is in memory once, however many
  // players have it.
  bool load(const std::string& path, bool wait = false);
  bool load(std::shared_ptr<const Model> model, bool wait = true);
  bool loading() const noexcept;
  // The newest message (an error, a warning such as another latency) since the last call, or empty.
  std::string take_message();
  std::shared_ptr<const Model> model() const;  // of the newest load that succeeded; null: none
  std::string path() const;

  // Attributes of a TorchScript model: they reach it before its next call, and every later model that has them. What it
  // refuses is a message. Throws Error: no such attribute, other types.
  std::vector<AttributeInfo> attributes() const;
  void set_attribute(const std::string& name, const Values& values);
  Values attribute(const std::string& name) const;  // as set, else as the model has it

  // ---- audio thread

  // frames values at in[channel], to out[channel]; in and out may be the same memory. Any number of frames.
  void process(const float* const* in, float* const* out, int frames) noexcept;

  // ---- any thread

  // Host samples from input to output, everything included; 0 while no model is loaded, and then constant until the next
  // `prepare`. Of `decode`: from the sample that is read, the last one of a hop. `encode` and `decode` patched into each
  // other are later than `forward` by the sum of what they report (at another rate than the model's: to half a sample).
  int latency_samples() const noexcept;
  // A model swapped in would be later than the latency of the last `prepare`: the host should prepare again.
  bool wants_prepare() const noexcept;
  Mode active_mode() const noexcept;
  Method method() const noexcept;
  int latents() const noexcept;

  void set(Control control, float value) noexcept;  // clamped; NaN is ignored
  float get(Control control) const noexcept;
  void set(Switch which, bool on) noexcept;
  bool get(Switch which) const noexcept;
  void set_latent(int latent, const LatentControl& control) noexcept;
  LatentControl latent(int latent) const noexcept;
  // Of a model with labels: the weight of one in what plays, -10 .. 10, ramped. The first has 1 at the start, the others
  // 0; a model that is exchanged takes them over by number. `set_label`: 1 for this one, 0 for all others.
  void set_label_weight(int label, float weight) noexcept;
  void set_label(int label) noexcept;
  float label_weight(int label) const noexcept;
  float latent_value(int latent) const noexcept;  // as last played, for displays
  void store_snapshot(int slot) noexcept;         // 0 A, 1 B: the latents now playing
  void recall_snapshot(int slot) noexcept;        // freezes at it
  // A latent of a snapshot, of stream 0 to 3: for a host's project.
  float snapshot(int slot, int stream, int latent) const noexcept;
  void set_snapshot(int slot, int stream, int latent, float value) noexcept;
  void set_seed(std::int64_t seed) noexcept;
  void request_reset() noexcept;  // histories to silence, at the next `process`
  void set_offline(bool offline) noexcept;
  const Meters& meters() const noexcept;
  void reset_meters() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ravel
