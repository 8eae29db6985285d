// What sounds: the player in its stereo form, what notes do to it, and the dry signal while there is no model.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "delay.h"
#include "feed.h"
#include "midi.h"
#include "parameters.h"
#include "ravel/player.h"
#include "rest.h"
#include "shell.h"

namespace ravel::plugin {

class Stage {
 public:
  explicit Stage(Form form) noexcept;

  // ---- control thread

  struct Setup {
    double sample_rate_hz = 48000;
    int max_block = 512;
    Mode mode = Mode::automatic;
    Stereo stereo = Stereo::left_right;
    bool offline = false;
    bool plays = false;       // the model; else the dry signal
    int latency_samples = 0;  // of the dry signal
  };
  // Allocates and begins anew; `process` is silent meanwhile. `fade`: comes back out of silence.
  void prepare(const Setup& setup, bool fade);
  Player& player() noexcept { return player_; }
  Rest& rest() noexcept { return rest_; }
  Assignments& assignments() noexcept { return assignments_; }

  // ---- any thread

  void set_parameter(int parameter, float value) noexcept;
  float parameter(int parameter) const noexcept { return values_[static_cast<std::size_t>(parameter)]; }
  // As if MIDI had moved it: the host hears of it by `take_moved`.
  void move_parameter(int parameter, float value) noexcept;
  int take_moved(int* parameters, int most) noexcept;
  int latency_samples() const noexcept { return latency_; }
  // A temperature that nobody moved is the model's.
  bool temperature_moved() const noexcept { return temperature_moved_; }
  void set_temperature_moved(bool moved) noexcept { temperature_moved_ = moved; }
  // Sound needs nothing that comes in.
  bool plays_by_itself() const noexcept { return own() > 0; }
  Feed& feed() noexcept { return feed_; }

  // ---- audio thread

  void process(const float* const* in, float* const* out, int frames, std::span<const Midi> midi) noexcept;

 private:
  class Flags {
   public:
    void raise(int parameter) noexcept;
    void raise_all() noexcept;
    template <class Each>
    void take(Each&& each) noexcept;

   private:
    std::array<std::atomic<std::uint64_t>, (kParameters + 63) / 64> words_{};
  };

  void follow() noexcept;
  void apply(int parameter) noexcept;
  void apply_latent(int latent) noexcept;
  void apply_freeze() noexcept;
  void hear(const Midi& event) noexcept;
  void understand(const Midi& event) noexcept;
  void run(const float* const* in, float* const* out, int frames) noexcept;
  void play(const float* const* in, float* const* out, int frames) noexcept;
  void play_effect(const float* const* in, float* const* out, int frames) noexcept;
  void play_instrument(float* const* out, int frames) noexcept;
  bool open() const noexcept;
  float own() const noexcept { return prior_ ? parameter(kPrior) / 100 : 0; }
  void shape() noexcept;
  void raise_gate(int frames) noexcept;
  void open_by_itself(std::span<float> gate, float step) noexcept;
  // Of an instrument: notes push behind the codes, or what the prior plays, where latents that go in would not be heard.
  bool pushes() const noexcept { return codes_ || prior_; }
  static void show(Ring<Feed::kSamples>& ring, const float* const* channels, int frames) noexcept;

  static constexpr int kGrid = 32;  // samples between two values of what notes do to latents

  const Form form_;
  Player player_;
  Rest rest_;
  Assignments assignments_;
  Feed feed_;
  std::array<std::atomic<float>, kParameters> values_;
  Flags changed_, moved_;
  std::atomic<bool> temperature_moved_{false};
  std::atomic<int> latency_{0};
  std::atomic<bool> prior_{false};  // the model has one

  // Audio thread; constant between two calls of `prepare` up to here.
  Setup setup_;
  bool codes_ = false;  // what the decoder takes
  Delay dry_, late_gate_;
  std::vector<std::vector<float>> rows_;  // mid, side; or latents
  std::vector<float*> row_at_;
  std::vector<float> gate_;
  std::int64_t time_ = 0;         // samples since `prepare`
  std::array<Midi, 256> missed_;  // while `prepare` had its turn
  std::size_t missed_count_ = 0;
  struct Gesture {
    Keys keys;
    Envelope envelope;
    float velocity = 0;                       // on its way to that of the newest note
    bool shaping = false;                     // notes sound, or what they did is not over
    float bend = 0, wheel = 0, pressure = 0;  // -1 .. 1, 0 .. 1, 0 .. 1
    std::array<float, 4> push{};              // of the first latents, in their units
  } gesture_;
  float side_ = 1;       // gain of the side, on its way
  float own_ = 0;        // how far the gate is open without a note, on its way
  int until_frame_ = 0;  // samples until the next latents for the display
};

}  // namespace ravel::plugin
