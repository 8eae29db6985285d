// The audio thread of the plugin, and what it is told.
#include "stage.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace ravel::plugin {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr float kNoCode = -1;  // of a model with codes: the mean of its latents
constexpr float kOctave = 12;
constexpr int kMiddleC = 60;
constexpr float kRampMs = 20;
constexpr float kGlideMs = 5;  // from one velocity to another

bool is_latent(int parameter) noexcept { return parameter >= kFirstLatent && parameter < kFirstLabel; }
bool is_label(int parameter) noexcept { return parameter >= kFirstLabel && parameter < kFirstLabel + kLabels; }

}  // namespace

void Stage::Flags::raise(int parameter) noexcept {
  words_[static_cast<std::size_t>(parameter / 64)].fetch_or(1ULL << (parameter % 64), std::memory_order_release);
}

void Stage::Flags::raise_all() noexcept {
  for (int i = 0; i < kParameters; ++i) raise(i);
}

template <class Each>
void Stage::Flags::take(Each&& each) noexcept {
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (words_[i].load(kRelaxed) == 0) continue;
    for (std::uint64_t left = words_[i].exchange(0, std::memory_order_acquire); left != 0; left &= left - 1)
      each(static_cast<int>(64 * i) + std::countr_zero(left));
  }
}

Stage::Stage(Form form) noexcept : form_(form), player_(form == Form::effect ? Method::forward : Method::decode) {
  for (int i = 0; i < kParameters; ++i)
    values_[static_cast<std::size_t>(i)] = parameters()[static_cast<std::size_t>(i)].initial;
}

void Stage::prepare(const Setup& setup, bool fade) {
  rest_.change(setup.sample_rate_hz, !fade, [&] {
    setup_ = setup;
    if (!fade) gesture_ = {};
    Host host;
    host.sample_rate_hz = setup.sample_rate_hz;
    host.max_block = setup.max_block;
    host.out_channels = 2;
    host.offline = setup.offline;
    const auto model = player_.model();
    codes_ = model && model->info().quantisers > 0;
    prior_ = setup.plays && model && has_prior(model->info());
    const int decoder = model ? model->info().method(Method::decode).in_channels : 0;
    host.in_channels = form_ == Form::instrument ? decoder : setup.stereo == Stereo::mono ? 1 : 2;
    changed_.raise_all();
    follow();
    side_ = parameter(kBypass) > 0 ? 1 : parameter(kWidth) / 100;
    if (!fade) own_ = own();
    player_.set_mode(setup.mode);
    player_.prepare(host);
    latency_ = setup.plays ? player_.latency_samples() : setup.latency_samples;
    dry_.prepare(2, setup.plays ? 0 : setup.latency_samples);
    late_gate_.prepare(1, latency_);
    const auto block = static_cast<std::size_t>(setup.max_block);
    rows_.assign(static_cast<std::size_t>(std::max(2, host.in_channels)), std::vector<float>(block, 0.0F));
    row_at_.clear();
    for (auto& row : rows_) row_at_.push_back(row.data());
    gate_.assign(block, 0.0F);
    time_ = 0;
    until_frame_ = 0;
    feed_.sample_rate_hz = static_cast<float>(setup.sample_rate_hz);
  });
}

void Stage::set_parameter(int parameter, float value) noexcept {
  if (parameter < 0 || parameter >= kParameters || std::isnan(value)) return;
  const float now = fitted(parameter, value);
  if (values_[static_cast<std::size_t>(parameter)].exchange(now) == now) return;
  if (parameter == kTemperature) temperature_moved_ = true;
  changed_.raise(parameter);
}

void Stage::move_parameter(int parameter, float value) noexcept {
  set_parameter(parameter, value);
  moved_.raise(parameter);
}

int Stage::take_moved(int* parameters, int most) noexcept {
  int count = 0;
  moved_.take([&](int parameter) {
    if (count < most) {
      parameters[count++] = parameter;
    } else {
      moved_.raise(parameter);
    }
  });
  return count;
}

void Stage::follow() noexcept {
  changed_.take([this](int parameter) { apply(parameter); });
}

void Stage::apply(int parameter) noexcept {
  const float value = this->parameter(parameter);
  if (is_latent(parameter)) return apply_latent((parameter - kFirstLatent) / kLatentIds);
  if (is_label(parameter)) return player_.set_label_weight(parameter - kFirstLabel, value / 100);
  switch (parameter) {
    case kInputGain: return player_.set(Control::input_gain_db, value);
    case kOutputGain: return player_.set(Control::output_gain_db, value);
    case kDryWet: return player_.set(Control::drywet, value / 100);
    case kTemperature:
      if (temperature_moved_) player_.set(Control::temperature, value);
      return;
    case kLatentNoise: return player_.set(Control::noise_latent, value);
    case kFill: return player_.set(Control::fill, value);
    case kNoise: return player_.set(Switch::noise, value > 0);
    case kMorphing: return player_.set(Switch::morphing, value > 0);
    case kMorph: return player_.set(Control::morph, value / 100);
    case kWidth:
    case kStereo:  // of mid and side the side's gain: `play_effect`
      return player_.set(Control::width, setup_.stereo == Stereo::mid_side ? 1 : this->parameter(kWidth) / 100);
    case kPrior: return player_.set(Control::prior, value / 100);
    case kPriorTemperature: return player_.set(Control::prior_temperature, value);
    case kBypass: return player_.set(Switch::bypass, value > 0);
    case kFreeze:
    case kNotes: return apply_freeze();
    default: return;  // model and mode are the control thread's; attack and release are read as they are needed
  }
}

void Stage::apply_freeze() noexcept {
  const bool notes = form_ == Form::effect && parameter(kNotes) == static_cast<float>(Notes::freeze);
  player_.set(Switch::freeze, parameter(kFreeze) > 0 || (notes && (open() || gesture_.envelope.now() > 0)));
}

void Stage::apply_latent(int latent) noexcept {
  const auto value = [&](LatentId which) { return parameter(id(latent, which)); };
  const int pushed = form_ == Form::effect ? 2 : pushes() ? static_cast<int>(gesture_.push.size()) : 0;
  const float push = latent < pushed ? gesture_.push[static_cast<std::size_t>(latent)] : 0;
  const float bias = value(kBias) + (form_ == Form::instrument ? value(kScale) : 1) * push;  // as if it had come in
  player_.set_latent(latent, {value(kScale), bias, value(kOverride) + push, value(kOverrideOn) > 0});
}

void Stage::process(const float* const* in, float* const* out, int frames, std::span<const Midi> midi) noexcept {
  if (form_ == Form::instrument) in = nullptr;
  const std::array<float*, 2> outs{out[0], out[1]};
  const auto silence = [&] {
    for (float* channel : outs) std::fill_n(channel, frames, 0.0F);
  };
  if (!rest_.enter()) {
    for (const Midi& event : midi.first(std::min(midi.size(), missed_.size() - missed_count_)))
      missed_[missed_count_++] = event;
    return silence();
  }
  follow();
  for (const Midi& event : std::span(missed_).first(std::exchange(missed_count_, 0))) hear(event);
  const Rest::Next next = rest_.next(true);
  if (next == Rest::Next::silent) {
    for (const Midi& event : midi) hear(event);
    silence();
    return rest_.leave();
  }
  if (next == Rest::Next::begins) {
    player_.request_reset();
    rest_.begin(latency_.load(kRelaxed));
  }
  int at = 0;
  const auto until = [&](int end) {
    for (int n = 0; at < end; at += n) {
      n = std::min(end - at, setup_.max_block);
      const std::array<const float*, 2> from{in ? in[0] + at : nullptr, in ? in[1] + at : nullptr};
      const std::array<float*, 2> to{out[0] + at, out[1] + at};
      run(from.data(), to.data(), n);
    }
  };
  for (const Midi& event : midi) {
    until(std::clamp(event.frame, at, frames));
    hear(event);
  }
  until(frames);
  rest_.fade(outs, frames);
  rest_.leave();
}

void Stage::hear(const Midi& event) noexcept {
  understand(event);
  gesture_.shaping = true;
  shape();
}

void Stage::understand(const Midi& event) noexcept {
  const int kind = event.bytes[0] & 0xF0, first = event.bytes[1] & 0x7F, second = event.bytes[2] & 0x7F;
  const float value = static_cast<float>(second) / 127;
  if (kind == 0x90 && second > 0) {
    gesture_.keys.press(first, value);
  } else if (kind == 0x80 || kind == 0x90) {
    gesture_.keys.release(first);
  } else if (kind == 0xE0) {
    gesture_.bend = static_cast<float>((second << 7 | first) - 8192) / 8192;
  } else if (kind == 0xD0) {
    gesture_.pressure = static_cast<float>(first) / 127;
  } else if (kind == 0xB0 && first >= 120) {
    gesture_.keys.all_off();  // all sound off, all notes off and their kin
  } else if (kind == 0xB0) {
    if (first == 64) gesture_.keys.pedal(second >= 64);
    if (first == 1) gesture_.wheel = value;
    const int parameter = assignments_.move(first);
    if (parameter < 0) return;
    const Parameter& about = parameters()[static_cast<std::size_t>(parameter)];
    move_parameter(parameter, about.minimum + value * (about.maximum - about.minimum));
    follow();
  }
}

bool Stage::open() const noexcept {
  return gesture_.keys.sounding() ||
         (form_ == Form::instrument && parameter(kFreeze) > 0 && gesture_.envelope.now() > 0);
}

// What notes do is settled when they come and on a grid of samples since the beginning, so that it makes no difference
// how a host cuts its blocks.
void Stage::run(const float* const* in, float* const* out, int frames) noexcept {
  for (int at = 0, n = 0; at < frames; at += n) {
    n = frames - at;
    if (gesture_.shaping && time_ % kGrid == 0) shape();
    if (gesture_.shaping) n = std::min(n, kGrid - static_cast<int>(time_ % kGrid));
    const std::array<const float*, 2> from{in[0] ? in[0] + at : nullptr, in[1] ? in[1] + at : nullptr};
    const std::array<float*, 2> to{out[0] + at, out[1] + at};
    raise_gate(n);
    play(from.data(), to.data(), n);
    time_ += n;
  }
}

// Effect: notes push the first two latents. Instrument: pitch, loudness, modulation wheel and pressure are the first
// four, the others rest.
void Stage::shape() noexcept {
  const float pitch = static_cast<float>(gesture_.keys.note() - kMiddleC) / kOctave, envelope = gesture_.envelope.now();
  gesture_.shaping = open() || envelope > 0;
  if (form_ == Form::instrument) {
    gesture_.push = {pitch + gesture_.bend, 2 * envelope * gesture_.velocity, 2 * gesture_.wheel,
                     2 * gesture_.pressure};
    for (int latent = 0; pushes() && latent < static_cast<int>(gesture_.push.size()); ++latent) apply_latent(latent);
    return;
  }
  apply_freeze();
  const float size = parameter(kNotes) == static_cast<float>(Notes::push) ? envelope : 0;
  const std::array<float, 4> push{size * pitch + gesture_.bend, size * gesture_.velocity};
  if (push == gesture_.push) return;
  gesture_.push = push;
  apply_latent(0);
  apply_latent(1);
}

void Stage::raise_gate(int frames) noexcept {
  const auto step = [&](float ms) { return 1000 / (ms * static_cast<float>(setup_.sample_rate_hz)); };
  const std::span gate(gate_.data(), static_cast<std::size_t>(frames));
  if (gesture_.shaping) {
    const float attack = step(parameter(kAttack)), release = step(parameter(kRelease)), glide = step(kGlideMs);
    const bool open = this->open();
    if (gesture_.envelope.now() == 0) gesture_.velocity = gesture_.keys.velocity();
    for (float& now : gate) {
      gesture_.velocity += std::clamp(gesture_.keys.velocity() - gesture_.velocity, -glide, glide);
      now = gesture_.envelope.next(open, attack, release) * gesture_.velocity;
    }
  } else if (form_ == Form::instrument) {
    std::fill(gate.begin(), gate.end(), 0.0F);
  }
  if (form_ == Form::instrument && (own_ > 0 || own() > 0)) open_by_itself(gate, step(kRampMs));
}

// As far as the prior plays, no note is needed.
void Stage::open_by_itself(std::span<float> gate, float step) noexcept {
  const float wanted = own();
  for (float& now : gate) {
    own_ += std::clamp(wanted - own_, -step, step);
    now = std::max(now, own_);
  }
}

void Stage::play(const float* const* in, float* const* out, int frames) noexcept {
  if (in[0]) show(feed_.input, in, frames);
  if (!setup_.plays) {
    if (form_ == Form::effect) return dry_.process(in, out, frames);
    for (int c = 0; c < 2; ++c) std::fill_n(out[c], frames, 0.0F);
    return;
  }
  if (form_ == Form::instrument) {
    play_instrument(out, frames);
  } else {
    play_effect(in, out, frames);
  }
  show(feed_.output, out, frames);
  until_frame_ -= frames;
  if (until_frame_ > 0) return;
  until_frame_ += Feed::kBlock;
  for (int i = 0; i < kLatents; ++i) feed_.latents[static_cast<std::size_t>(i)].push(player_.latent_value(i));
}

void Stage::play_effect(const float* const* in, float* const* out, int frames) noexcept {
  if (setup_.stereo == Stereo::left_right) return player_.process(in, out, frames);
  float* const middle = row_at_[0];
  float* const side = row_at_[1];
  for (int t = 0; t < frames; ++t) {
    middle[t] = 0.5F * (in[0][t] + in[1][t]);
    side[t] = 0.5F * (in[0][t] - in[1][t]);
  }
  if (setup_.stereo == Stereo::mono) return player_.process(row_at_.data(), out, frames);
  player_.process(row_at_.data(), row_at_.data(), frames);
  const float width = parameter(kBypass) > 0 ? 1 : parameter(kWidth) / 100;
  const auto step = static_cast<float>(1000 / (kRampMs * setup_.sample_rate_hz));
  for (int t = 0; t < frames; ++t) {
    side_ += std::clamp(width - side_, -step, step);
    out[0][t] = middle[t] + side_ * side[t];
    out[1][t] = middle[t] - side_ * side[t];
  }
}

// The envelope is as late as the sound that it shapes.
void Stage::play_instrument(float* const* out, int frames) noexcept {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const float latent = i < gesture_.push.size() && !prior_ ? gesture_.push[i] : 0;
    std::fill_n(row_at_[i], frames, codes_ ? kNoCode : latent);
  }
  player_.process(row_at_.data(), out, frames);
  float* const gate = gate_.data();
  late_gate_.process(&gate, &gate, frames);
  for (int c = 0; c < 2; ++c) {
    for (int t = 0; t < frames; ++t) out[c][t] *= gate[t];
  }
}

void Stage::show(Ring<Feed::kSamples>& ring, const float* const* channels, int frames) noexcept {
  for (int t = 0; t < frames; ++t) {
    const float mean = 0.5F * (channels[0][t] + channels[1][t]);
    ring.push(std::isfinite(mean) ? mean : 0);
  }
}

}  // namespace ravel::plugin
