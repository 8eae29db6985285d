// Edits the latent frames of one engine between encoding and decoding, as the board says; on the engine's thread.
#pragma once

#include <atomic>
#include <vector>

#include "engine/noise.h"
#include "player/board.h"
#include "player/ramp.h"
#include "ravel/engine.h"

namespace ravel::player {

class Shaper {
 public:
  // Controls reach their targets within `ramp_frames` latent frames.
  Shaper(Board& board, int latents, int streams, int ramp_frames);

  LatentHook hook() noexcept { return {this, &Shaper::edit}; }
  void reset() noexcept;
  void reseed(std::int64_t seed) noexcept { noise_.reseed(seed); }
  // Whether this is the engine whose latents are shown and stored.
  void show(bool on) noexcept { shown_.store(on, std::memory_order_relaxed); }

 private:
  struct Latent {
    Ramp scale{1}, bias, override_value, override_mix;
  };

  static void edit(void* self, float* z, int latents, int stream) noexcept;
  void advance() noexcept;
  void shape(float* z, int stream) noexcept;
  float morphed(int stream, int latent) const noexcept;
  void morph(float* z, int stream) noexcept;
  void hold(float* z, int stream) noexcept;

  Board& board_;
  int latents_, streams_, ramp_frames_;
  std::vector<Latent> shapes_;
  Ramp noise_size_, morph_mix_, hold_mix_;
  std::vector<Ramp> morph_, hold_;  // stream * latents
  std::vector<float> last_;         // played, alike
  std::vector<bool> capture_;       // a stream: hold what played last
  bool morph_begins_ = false, hold_begins_ = false;
  int held_ = Board::kFree;
  engine::NoiseState noise_;
  std::vector<float> drawn_;
  std::atomic<bool> shown_{false};
};

}  // namespace ravel::player
