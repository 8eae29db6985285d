// The plugin without a plugin format: player, parameters, MIDI and state, as any host and the interface use them.
//
// Threads: main = the host's or the interface's, calls may allocate and block; audio = `process`; any = both.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parameters.h"
#include "status.h"

namespace ravel::plugin {

enum class Form { effect, instrument };  // an instrument has no audio input: notes and latents drive the decoder

struct Midi {
  int frame = 0;  // within the block
  std::array<std::uint8_t, 3> bytes{};
};

struct Keeper;

// What a display shows of sound and latents; written by the audio thread, read by one display at a time, never waits.
class Feed;

class Shell {
 public:
  // `built_in`: bytes of the model that the plugin was built with, or none; they outlive the shell.
  explicit Shell(Form form, std::span<const std::byte> built_in = {});
  ~Shell();
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  // ---- main thread

  void activate(double sample_rate_hz, int max_block);
  void deactivate();

  // One model after another; what plays goes on until the next is ready. An error is in `status().message`.
  void open(const std::string& path);
  std::vector<std::string> models() const;  // `.ravel` files in the folder of the model, by name: kModel chooses
  Status status();

  // Whether sound is rendered rather than played: what parameters ask for is then done at once, in `process` if need be,
  // so that a render comes out the same every time.
  void set_offline(bool on);

  // Everything that a project has to remember and parameters do not hold, by the keys of `state_keys()`.
  static std::span<const char* const> state_keys();
  std::string state(const std::string& key);
  void set_state(const std::string& key, const std::string& value);  // unreadable: a message, and nothing changes
  void set_embedded(bool on);                                        // the model itself travels in the project

  // A file of everything: parameters, snapshots, MIDI assignments and which model. Throws Error.
  void save_preset(const std::string& path);
  std::vector<float> load_preset(const std::string& path);  // the parameters, for the host to be told
  static std::vector<std::string> factory_presets();
  std::vector<float> load_factory_preset(int which);

  void store_snapshot(int slot);  // 0 A, 1 B: the latents now playing
  void recall_snapshot(int slot);

  // MIDI: the next controller that moves is assigned to the parameter; -1 ends the waiting.
  void learn(int parameter);
  int learning() const noexcept;
  int controller_of(int parameter) const;  // -1: none
  void forget(int parameter);

  // ---- any thread

  void set_parameter(int parameter, float value) noexcept;
  float parameter(int parameter) const noexcept;
  int latency_samples() const noexcept;
  // How long sound goes on after its input ended; -1: for ever.
  int tail_samples() const noexcept;
  // What MIDI or the plugin itself moved since the last call, for the host and the interface to hear of; at most `most` of them.
  int take_moved(int* parameters, int most) noexcept;
  float latent_value(int latent) const noexcept;
  Feed& feed() noexcept;

  // ---- audio thread

  void process(const float* const* in, float* const* out, int frames, std::span<const Midi> midi) noexcept;

 private:
  std::unique_ptr<Keeper> keeper_;
};

}  // namespace ravel::plugin
