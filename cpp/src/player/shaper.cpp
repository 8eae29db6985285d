// value * scale + bias, + noise, override, morph between snapshots, freeze; then it is shown.
#include "player/shaper.h"

#include <algorithm>

#include "kernels/kernels.h"

namespace ravel::player {

namespace {
constexpr int kNoiseNode = 0x6C617465;  // apart from every node of a model, which count from 0
constexpr auto kRelaxed = std::memory_order_relaxed;
}  // namespace

Shaper::Shaper(Board& board, int latents, int streams, int ramp_frames)
    : board_(board),
      latents_(std::min(latents, kMostLatents)),
      streams_(streams),
      ramp_frames_(ramp_frames),
      shapes_(static_cast<std::size_t>(latents_)),
      morph_(static_cast<std::size_t>(latents_) * streams),
      hold_(morph_.size()),
      last_(morph_.size()),
      capture_(static_cast<std::size_t>(streams), false),
      noise_({kNoiseNode, std::max(latents_, 1)}, streams),
      drawn_(static_cast<std::size_t>(latents_) + kernels::kSlackFloats) {
  for (int i = 0; i < latents_; ++i) {
    const LatentBoard& from = board.latents[static_cast<std::size_t>(i)];
    Latent& to = shapes_[static_cast<std::size_t>(i)];
    to.scale.jump(from.scale);
    to.bias.jump(from.bias);
    to.override_value.jump(from.override_value);
    to.override_mix.jump(from.override_on ? 1.0f : 0.0f);
  }
  noise_size_.jump(board.value(Control::noise_latent));
  morph_mix_.jump(board.on(Switch::morphing) ? 1.0f : 0.0f);
  held_ = board.hold.load();
  hold_mix_.jump(held_ != Board::kFree ? 1.0f : 0.0f);
  for (int s = 0; s < streams; ++s) {
    for (int i = 0; i < latents_; ++i) {
      const auto at = static_cast<std::size_t>(s) * latents_ + i;
      morph_[at].jump(morphed(s, i));
      // what was held before this engine came is held on
      hold_[at].jump(held_ >= Board::kSnapshot
                         ? board.snapshots[static_cast<std::size_t>(held_ - Board::kSnapshot)].at(s, i)
                         : board.heard.at(s, i));
    }
  }
  reset();
}

void Shaper::reset() noexcept { noise_.reset(board_.seed.load(kRelaxed)); }

void Shaper::edit(void* self, float* z, int /*latents*/, int stream) noexcept {
  Shaper& shaper = *static_cast<Shaper*>(self);
  if (stream == 0) shaper.advance();
  shaper.shape(z, stream);
  shaper.morph(z, stream);
  shaper.hold(z, stream);
  if (stream == shaper.streams_ - 1) shaper.noise_.advance(1);
  if (stream >= kMostStreams || !shaper.shown_.load(kRelaxed)) return;
  for (int i = 0; i < shaper.latents_; ++i) shaper.board_.heard.put(stream, i, z[i]);
}

// Every ramp goes on by one frame.
void Shaper::advance() noexcept {
  for (int i = 0; i < latents_; ++i) {
    const LatentBoard& from = board_.latents[static_cast<std::size_t>(i)];
    Latent& to = shapes_[static_cast<std::size_t>(i)];
    const bool on = from.override_on.load(kRelaxed);
    const float value = from.override_value.load(kRelaxed);
    if (to.override_mix.still() && to.override_mix.now() == 0) to.override_value.jump(value);
    to.scale.aim(from.scale.load(kRelaxed), ramp_frames_);
    to.bias.aim(from.bias.load(kRelaxed), ramp_frames_);
    to.override_value.aim(value, ramp_frames_);
    to.override_mix.aim(on ? 1.0f : 0.0f, ramp_frames_);
    to.scale.next();
    to.bias.next();
    to.override_value.next();
    to.override_mix.next();
  }
  noise_size_.aim(board_.value(Control::noise_latent), ramp_frames_);
  noise_size_.next();
  const bool morphing = board_.on(Switch::morphing);
  morph_begins_ = morphing && morph_mix_.now() == 0;
  morph_mix_.aim(morphing ? 1.0f : 0.0f, ramp_frames_);
  morph_mix_.next();
  const int hold = board_.hold.load(kRelaxed);
  if (hold == Board::kHold && held_ != Board::kHold) std::fill(capture_.begin(), capture_.end(), true);
  held_ = hold;
  hold_begins_ = hold != Board::kFree && hold_mix_.now() == 0;
  hold_mix_.aim(hold != Board::kFree ? 1.0f : 0.0f, ramp_frames_);
  hold_mix_.next();
}

void Shaper::shape(float* z, int stream) noexcept {
  const float size = noise_size_.now();
  if (size != 0) noise_.gaussian(stream, 0, drawn_.data());
  for (int i = 0; i < latents_; ++i) {
    const Latent& shape = shapes_[static_cast<std::size_t>(i)];
    float value = z[i] * shape.scale.now() + shape.bias.now();
    if (size != 0) value += size * drawn_[static_cast<std::size_t>(i)];
    const float mix = shape.override_mix.now();
    if (mix != 0) value += mix * (shape.override_value.now() - value);
    z[i] = mix == 1 ? shape.override_value.now() : value;
  }
}

// Between the snapshots.
float Shaper::morphed(int stream, int latent) const noexcept {
  const float a = board_.snapshots[0].at(stream, latent), b = board_.snapshots[1].at(stream, latent);
  return a + board_.value(Control::morph) * (b - a);
}

void Shaper::morph(float* z, int stream) noexcept {
  const float mix = morph_mix_.now();
  if (mix == 0) return;
  for (int i = 0; i < latents_; ++i) {
    Ramp& value = morph_[static_cast<std::size_t>(stream) * latents_ + i];
    const float to = morphed(stream, i);
    if (morph_begins_) value.jump(to);
    value.aim(to, ramp_frames_);
    z[i] += mix * (value.next() - z[i]);
  }
}

void Shaper::hold(float* z, int stream) noexcept {
  const float mix = hold_mix_.now();
  const bool capture = capture_[static_cast<std::size_t>(stream)];
  capture_[static_cast<std::size_t>(stream)] = false;
  for (int i = 0; i < latents_; ++i) {
    const auto at = static_cast<std::size_t>(stream) * latents_ + i;
    Ramp& value = hold_[at];
    if (held_ >= Board::kSnapshot) {
      value.aim(board_.snapshots[static_cast<std::size_t>(held_ - Board::kSnapshot)].at(stream, i), ramp_frames_);
    } else if (capture) {
      value.aim(last_[at], ramp_frames_);
    }
    if (hold_begins_) value.jump(value.target());  // nothing was held from which it could come
    value.next();
    if (mix != 0) z[i] = mix == 1 ? value.now() : z[i] + mix * (value.now() - z[i]);
    last_[at] = z[i];
  }
}

}  // namespace ravel::player
