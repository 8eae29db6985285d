// The player: voices that come and go, the dry path, and what a performer turns.
#include "ravel/player.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <mutex>
#include <numbers>
#include <utility>

#include "kernels/kernels.h"
#include "model/attributes.h"
#include "player/board.h"
#include "player/loader.h"
#include "player/ramp.h"
#include "player/voice.h"

namespace ravel {

using player::Board;
using player::Ramp;
using player::Voice;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr double kRampSeconds = 0.02, kFadeSeconds = 0.05, kLoadSmoothingSeconds = 0.3;

constexpr const char* kModes[] = {"automatic", "inline", "sliced", "threaded"};

float gain(float db) noexcept { return db == 0 ? 1.0f : std::pow(10.0f, db / 20); }

bool is_finite(float x) noexcept { return (std::bit_cast<std::uint32_t>(x) & 0x7F800000u) != 0x7F800000u; }

void require(bool sound, const std::string& message) {
  if (!sound) throw Error("player: " + message);
}

void check(const Host& host) {
  require(host.sample_rate_hz >= 4000 && host.sample_rate_hz <= 768000,
          "sample_rate_hz: 4000 to 768000, got " + std::to_string(host.sample_rate_hz));
  require(host.max_block >= 1 && host.max_block <= 1 << 16,
          "max_block: 1 to 65536, got " + std::to_string(host.max_block));
  require(host.fixed_block >= 0 && host.fixed_block <= 1 << 16,
          "fixed_block: 0 to 65536, got " + std::to_string(host.fixed_block));
  require(host.in_channels >= 0 && host.in_channels <= 4096 && host.out_channels >= 0 && host.out_channels <= 4096,
          "channels: 0 to 4096, got " + std::to_string(host.in_channels) + " in, " + std::to_string(host.out_channels) +
              " out");
}

// Rows of one buffer each.
class Rows {
 public:
  void allocate(int rows, int length) {
    values_.assign(static_cast<std::size_t>(rows) * length, 0.0f);
    pointers_.clear();
    for (int i = 0; i < rows; ++i) pointers_.push_back(values_.data() + static_cast<std::size_t>(i) * length);
  }
  float* operator[](int i) const noexcept { return pointers_[static_cast<std::size_t>(i)]; }
  float* const* all() const noexcept { return pointers_.data(); }

 private:
  std::vector<float> values_;
  std::vector<float*> pointers_;
};

bool is_kept(int slot, int stream, int latent) noexcept {
  return slot >= 0 && slot <= 1 && stream >= 0 && stream < player::kMostStreams && latent >= 0 &&
         latent < player::kMostLatents;
}

void raise(std::atomic<float>& peak, float value) noexcept {
  if (value > peak.load(kRelaxed)) peak.store(value, kRelaxed);
}

}  // namespace

const char* name(Mode mode) noexcept { return kModes[static_cast<std::size_t>(mode)]; }

Mode mode_from_name(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    if (name == kModes[i]) return static_cast<Mode>(i);
  }
  throw Error("mode: automatic, inline, sliced or threaded, got \"" + name + "\"");
}

struct Player::Impl {
  explicit Impl(Method method) : wanted_method(method), loader([this](const player::Request& r) { install(r); }) {}

  ~Impl() {
    loader.stop();  // it may be about to publish a voice
    free_retired(true);
    delete pending.load();
    delete current;
    delete incoming;
  }

  // ---- control thread and loader

  void prepare(const Host& wanted) {
    check(wanted);
    const std::lock_guard lock(control);
    free_retired();
    delete pending.exchange(nullptr);
    delete std::exchange(current, nullptr);
    delete std::exchange(incoming, nullptr);
    host = wanted;
    if (host.fixed_block > 0) host.max_block = host.fixed_block;
    method = wanted_method;
    mode = wanted_mode;
    core_slices = wanted_core_slices;
    active_method = method;
    offline = host.offline;
    latency = 0;
    later = false;
    time = 0;
    reset = false;
    allocate();
    prepared = true;
    if (model) {
      current = build(0).release();
      current->show(true);
    }
  }

  void allocate() {
    const int block = host.max_block, outs = host.out_channels;
    in_at.resize(static_cast<std::size_t>(host.in_channels));
    out_at.resize(static_cast<std::size_t>(outs));
    dry_in.allocate(host.in_channels, block);
    driven.allocate(host.in_channels, block);
    wet.allocate(outs, block);
    dry.allocate(outs, block);
    wet_new.allocate(outs, block);
    dry_new.allocate(outs, block);
    for (auto* values : {&gains, &mixes, &bypasses, &widths}) values->assign(static_cast<std::size_t>(block), 0.0f);
    tail.assign(static_cast<std::size_t>(outs), 0.0f);
    tail_from = tail;
    tail_left = 0;
    ramp_samples = std::max(1, static_cast<int>(std::lround(kRampSeconds * host.sample_rate_hz)));
    input_gain.jump(gain(board.value(Control::input_gain_db)));
    output_gain.jump(gain(board.value(Control::output_gain_db)));
    mix.jump(board.value(Control::drywet));
    bypass.jump(board.on(Switch::bypass) ? 1.0f : 0.0f);
    width.jump(board.value(Control::width));
    const int n = std::max(1, static_cast<int>(std::lround(kFadeSeconds * host.sample_rate_hz)));
    fade.resize(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i)
      fade[static_cast<std::size_t>(i)] = static_cast<float>(std::sin(0.5 * std::numbers::pi * (i + 1) / n));
    meters.load = meters.worst_load = 0;
  }

  // For the current host, with at least this latency; says so when it is later.
  std::unique_ptr<Voice> build(int at_least, std::string news = {}) {
    auto voice =
        std::make_unique<Voice>(model, player::VoiceOptions{host, method, mode, core_slices, at_least}, board, meters);
    active_mode = voice->mode();
    if (latency == 0) latency = voice->latency();  // nothing had one before
    later = voice->latency() > latency;
    const auto add = [&](const std::string& text) { news = text + (news.empty() ? "" : "; ") + news; };
    if (later) {
      add(model->info().name + ": " + std::to_string(voice->latency() - latency) +
          " samples later than the latency of " + std::to_string(latency) +
          " that the host knows; restart its audio so that it can make up for it");
    }
    if (model->info().script && (mode == Mode::inline_ || mode == Mode::sliced))
      add(model->info().name + " is TorchScript, which plays threaded, not " + name(mode));
    if (!news.empty()) say(news);
    return voice;
  }

  void install(const player::Request& request) {
    try {
      auto next = request.model ? request.model : player::load_shared(request.path);
      const std::lock_guard lock(control);
      const auto before = std::exchange(model, std::move(next));
      std::string news;
      if (model != before && !model->info().remark.empty()) news = model->info().name + ": " + model->info().remark;
      try {
        if (prepared) {
          delete pending.exchange(build(latency, news).release());
        } else if (!news.empty()) {
          say(news);
        }
      } catch (...) {
        model = before;
        throw;
      }
      path = request.path;
      latents = model->info().latents;
      default_temperature = model->info().temperature;
      free_retired();
      load_failed = false;
    } catch (const std::exception& error) {
      load_failed = true;
      say(error.what());
    }
  }

  void say(std::string text) { board.messages.say(std::move(text)); }

  // Those whose workers are done: in Pd the caller is the audio thread, and a script takes its time.
  void free_retired(bool all = false) {
    Voice* voice = retired.exchange(nullptr);
    while (voice) {
      Voice* one = std::exchange(voice, voice->next);
      if (all || !one->busy()) {
        delete one;
      } else {
        push_retired(one);
      }
    }
  }

  void push_retired(Voice* voice) noexcept {
    voice->next = retired.load(kRelaxed);
    while (!retired.compare_exchange_weak(voice->next, voice, std::memory_order_release, kRelaxed)) {}
  }

  // ---- audio thread

  void retire(Voice* voice) noexcept {
    voice->show(false);
    push_retired(voice);
  }

  void adopt() noexcept {
    if (incoming || pending.load(kRelaxed) == nullptr) return;
    Voice* next = pending.exchange(nullptr, std::memory_order_acq_rel);
    if (!next) return;
    if (time.load(kRelaxed) == 0) {  // nothing was heard yet
      if (current) retire(current);
      current = next;
      current->show(true);
      return;
    }
    incoming = next;
    // hops keep to the player's beat, so that objects patched into each other stay together
    const int hop = next->beat();
    const int wait = next->resampled() ? 0 : static_cast<int>((hop - time.load(kRelaxed) % hop) % hop);
    incoming->wait(wait);
    until_fade = wait + next->latency();
    faded = 0;
  }

  void process(const float* const* in, float* const* out, int n) noexcept {
    adopt();
    if (reset.exchange(false, std::memory_order_acquire)) restart();
    const bool waits = offline.load(kRelaxed);
    take_input(in, n);
    play(current, wet, dry, n, waits);
    if (incoming) cross_fade(n, waits);
    if (tail_left > 0) add_tail(n);
    for (int c = 0; c < host.out_channels; ++c) tail[static_cast<std::size_t>(c)] = wet[c][n - 1];
    give_output(out, n);
    time.fetch_add(n, kRelaxed);
  }

  // What sounded last runs out in the silence until the first sample has come through.
  void restart() noexcept {
    if (!current) return;
    current->reset();
    if (incoming) incoming->reset();
    tail_length = tail_left = !gives_audio(method) ? 0 : std::min(ramp_samples, current->latency());
    std::copy(tail.begin(), tail.end(), tail_from.begin());
  }

  void add_tail(int n) noexcept {
    for (int t = 0; t < n && tail_left > 0; ++t, --tail_left) {
      const float share = static_cast<float>(tail_left) / static_cast<float>(tail_length);
      for (int c = 0; c < host.out_channels; ++c) wet[c][t] += tail_from[static_cast<std::size_t>(c)] * share;
    }
  }

  void take_input(const float* const* in, int n) noexcept {
    const bool audio = takes_audio(method);
    input_gain.aim(gain(board.value(Control::input_gain_db)), ramp_samples);
    const bool unity = input_gain.still() && input_gain.now() == 1;
    if (!unity) input_gain.next(gains.data(), n);
    float peak = 0;
    for (int c = 0; c < host.in_channels; ++c) {
      float* x = dry_in[c];
      for (int t = 0; t < n; ++t) {
        x[t] = is_finite(in[c][t]) ? in[c][t] : 0.0f;
        peak = std::max(peak, std::abs(x[t]));
      }
      float* y = driven[c];
      if (unity || !audio) {
        std::copy_n(x, n, y);
      } else {
        for (int t = 0; t < n; ++t) y[t] = x[t] * gains[static_cast<std::size_t>(t)];
      }
    }
    raise(meters.input_peak, peak);
  }

  // What a voice makes of the block, and the dry signal as late as it; without a voice silence and no delay.
  void play(Voice* voice, const Rows& wet_out, const Rows& dry_out, int n, bool waits) noexcept {
    const int outs = host.out_channels;
    if (voice) {
      voice->process(driven.all(), wet_out.all(), n, waits);
      if (method == Method::forward) voice->delay_dry(dry_in.all(), dry_out.all(), n);
      return;
    }
    for (int c = 0; c < outs; ++c) {
      std::fill_n(wet_out[c], n, 0.0f);
      const int from = host.in_channels == 1 ? 0 : c;
      if (method == Method::forward && from < host.in_channels) {
        std::copy_n(dry_in[from], n, dry_out[c]);
      } else {
        std::fill_n(dry_out[c], n, 0.0f);
      }
    }
  }

  // Equal power for voices, which differ; linear for the dry signal, which does not.
  void cross_fade(int n, bool waits) noexcept {
    play(incoming, wet_new, dry_new, n, waits);
    const int length = static_cast<int>(fade.size());
    const int start = std::min(until_fade, n);
    until_fade -= start;
    if (until_fade > 0) return;
    for (int c = 0; c < host.out_channels; ++c) {
      for (int t = start; t < n; ++t) {
        const int at = faded + t - start;
        const bool over = at >= length - 1;
        const float up = over ? 1.0f : fade[static_cast<std::size_t>(at)];
        const float down = over ? 0.0f : fade[static_cast<std::size_t>(length - 2 - at)];
        const float share = over ? 1.0f : static_cast<float>(at + 1) / static_cast<float>(length);
        wet[c][t] = wet[c][t] * down + wet_new[c][t] * up;
        if (method == Method::forward) dry[c][t] += (dry_new[c][t] - dry[c][t]) * share;
      }
    }
    faded += n - start;
    if (faded < length) return;
    if (current) retire(current);
    current = std::exchange(incoming, nullptr);
    current->show(true);
  }

  void give_output(float* const* out, int n) noexcept {
    const bool has_dry = method == Method::forward, audio = gives_audio(method);
    mix.aim(has_dry ? board.value(Control::drywet) : 1.0f, ramp_samples);
    bypass.aim(board.on(Switch::bypass) ? 1.0f : 0.0f, ramp_samples);
    output_gain.aim(audio ? gain(board.value(Control::output_gain_db)) : 1.0f, ramp_samples);
    if (audio && host.out_channels == 2) widen(n);
    const bool plain = mix.still() && mix.now() == 1 && bypass.still() && bypass.now() == 0 && output_gain.still() &&
                       output_gain.now() == 1;
    if (!plain) {
      mix.next(mixes.data(), n);
      bypass.next(bypasses.data(), n);
      output_gain.next(gains.data(), n);
    }
    float peak = 0;
    for (int c = 0; c < host.out_channels; ++c) {
      for (int t = 0; t < n; ++t) {
        float y = wet[c][t];
        if (!plain) {
          const auto i = static_cast<std::size_t>(t);
          const float x = has_dry ? dry[c][t] : 0.0f;
          y = (x * (1 - mixes[i]) + y * mixes[i]) * gains[i];
          y = x * bypasses[i] + y * (1 - bypasses[i]);
          if (!is_finite(y)) y = 0;
        }
        out[c][t] = y;
        peak = std::max(peak, std::abs(y));
      }
    }
    raise(meters.output_peak, peak);
  }

  void widen(int n) noexcept {
    width.aim(board.value(Control::width), ramp_samples);
    if (width.still() && width.now() == 1) return;
    width.next(widths.data(), n);
    for (int t = 0; t < n; ++t) {
      const float middle = 0.5f * (wet[0][t] + wet[1][t]);
      const float side = 0.5f * (wet[0][t] - wet[1][t]) * widths[static_cast<std::size_t>(t)];
      wet[0][t] = middle + side;
      wet[1][t] = middle - side;
    }
  }

  void measure(double seconds, int frames) noexcept {
    const double block = frames / host.sample_rate_hz;
    const auto share = static_cast<float>(seconds / block);
    const auto pace = static_cast<float>(std::min(1.0, block / kLoadSmoothingSeconds));
    const float load = meters.load.load(kRelaxed);
    meters.load.store(load + pace * (share - load), kRelaxed);
    raise(meters.worst_load, share);
  }

  // ---- any thread
  Board board;
  Meters meters;
  std::atomic<int> latency{0}, latents{0};
  std::atomic<float> default_temperature{0};  // the model's
  std::atomic<bool> later{false}, reset{false}, offline{false}, load_failed{false};
  std::atomic<Mode> active_mode{Mode::automatic};
  std::atomic<Method> active_method{Method::forward};
  std::atomic<std::int64_t> time{0};  // host samples since `prepare`
  std::atomic<Voice*> pending{nullptr}, retired{nullptr};

  // ---- control thread and loader, under `control`; read by the audio thread, between two calls of `prepare` constant
  std::mutex control;
  Host host{.in_channels = 0, .out_channels = 0};
  Method method = Method::forward;
  Mode mode = Mode::automatic;
  int core_slices = 0;
  bool prepared = false;
  std::shared_ptr<const Model> model;
  std::string path;
  Method wanted_method;
  Mode wanted_mode = Mode::automatic;
  int wanted_core_slices = 0;

  // ---- audio thread
  const kernels::Table& table = kernels::table(best_isa());
  Voice* current = nullptr;
  Voice* incoming = nullptr;
  int until_fade = 0, faded = 0, ramp_samples = 1;
  Ramp input_gain{1}, output_gain{1}, mix{1}, bypass, width{1};
  Rows dry_in, driven, wet, dry, wet_new, dry_new;
  std::vector<float> gains, mixes, bypasses, widths, fade;
  std::vector<float> tail, tail_from;  // a channel: the last wet sample, and what a reset cut off
  int tail_length = 0, tail_left = 0;
  std::vector<const float*> in_at;  // channels, where a part of a block begins
  std::vector<float*> out_at;

  player::Loader loader;  // last: its thread uses the others
};

Player::Player(Method method) : impl_(std::make_unique<Impl>(method)) { impl_->active_method = method; }
Player::~Player() = default;

void Player::prepare(const Host& host) { impl_->prepare(host); }

void Player::set_mode(Mode mode, int core_slices) {
  const std::lock_guard lock(impl_->control);
  impl_->wanted_mode = mode;
  impl_->wanted_core_slices = core_slices;
}

void Player::set_method(Method method) {
  const std::lock_guard lock(impl_->control);
  impl_->wanted_method = method;
  if (!impl_->prepared) impl_->active_method = method;
}

bool Player::load(const std::string& path, bool wait) {
  impl_->free_retired();
  impl_->loader.submit({path, nullptr});
  if (wait) impl_->loader.wait();
  return !wait || !impl_->load_failed.load();
}

bool Player::load(std::shared_ptr<const Model> model, bool wait) {
  impl_->free_retired();
  impl_->loader.submit({"", std::move(model)});
  if (wait) impl_->loader.wait();
  return !wait || !impl_->load_failed.load();
}

bool Player::loading() const noexcept { return impl_->loader.busy(); }

std::string Player::take_message() {
  impl_->free_retired();
  return impl_->board.messages.take();
}

std::shared_ptr<const Model> Player::model() const {
  const std::lock_guard lock(impl_->control);
  return impl_->model;
}

std::string Player::path() const {
  const std::lock_guard lock(impl_->control);
  return impl_->path;
}

std::vector<AttributeInfo> Player::attributes() const {
  const auto playing = model();
  return playing ? playing->info().attributes : std::vector<AttributeInfo>{};
}

void Player::set_attribute(const std::string& name, const Values& values) {
  const auto playing = model();
  if (!playing) throw Error("attribute " + name + ": no model is loaded yet");
  impl_->board.attributes.set(name, fitted(find_attribute(playing->info(), name), values));
}

Values Player::attribute(const std::string& name) const {
  const auto playing = model();
  if (!playing) throw Error("attribute " + name + ": no model is loaded yet");
  const AttributeInfo& about = find_attribute(playing->info(), name);
  return impl_->board.attributes.get(&playing->info(), name).value_or(about.initial);
}

void Player::process(const float* const* in, float* const* out, int frames) noexcept {
  Impl& p = *impl_;
  if (!p.prepared || frames <= 0) return;
  const auto begin = std::chrono::steady_clock::now();
  const std::uint64_t control = p.table.flush_denormals();
  for (int at = 0; at < frames;) {
    const int n = std::min(frames - at, p.host.max_block);
    for (std::size_t c = 0; c < p.in_at.size(); ++c) p.in_at[c] = in[c] + at;
    for (std::size_t c = 0; c < p.out_at.size(); ++c) p.out_at[c] = out[c] + at;
    p.process(p.in_at.data(), p.out_at.data(), n);
    at += n;
  }
  p.table.restore_denormals(control);
  p.measure(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), frames);
}

int Player::latency_samples() const noexcept { return impl_->latency.load(kRelaxed); }
bool Player::wants_prepare() const noexcept { return impl_->later.load(kRelaxed); }
Mode Player::active_mode() const noexcept { return impl_->active_mode.load(kRelaxed); }
Method Player::method() const noexcept { return impl_->active_method.load(kRelaxed); }
int Player::latents() const noexcept { return impl_->latents.load(kRelaxed); }

void Player::set(Control control, float value) noexcept {
  if (std::isnan(value)) return;
  const ControlInfo& range = info(control);
  impl_->board.controls[static_cast<std::size_t>(control)].store(std::clamp(value, range.minimum, range.maximum),
                                                                 kRelaxed);
}

float Player::get(Control control) const noexcept {
  const float value = impl_->board.value(control);
  return std::isnan(value) ? impl_->default_temperature.load(kRelaxed) : value;
}

void Player::set(Switch which, bool on) noexcept {
  if (which != Switch::freeze) {
    impl_->board.switches[static_cast<std::size_t>(which)].store(on, kRelaxed);
  } else if (on != impl_->board.on(which)) {
    impl_->board.hold.store(on ? Board::kHold : Board::kFree, kRelaxed);
  }
}

bool Player::get(Switch which) const noexcept { return impl_->board.on(which); }

void Player::set_latent(int latent, const LatentControl& control) noexcept {
  if (latent < 0 || latent >= player::kMostLatents) return;
  player::LatentBoard& to = impl_->board.latents[static_cast<std::size_t>(latent)];
  if (std::isfinite(control.scale)) to.scale.store(control.scale, kRelaxed);
  if (std::isfinite(control.bias)) to.bias.store(control.bias, kRelaxed);
  if (std::isfinite(control.override_value)) to.override_value.store(control.override_value, kRelaxed);
  to.override_on.store(control.override_on, kRelaxed);
}

void Player::set_label_weight(int label, float weight) noexcept {
  if (label < 0 || label >= player::kMostLabels || !std::isfinite(weight)) return;
  impl_->board.labels[static_cast<std::size_t>(label)].store(std::clamp(weight, -10.0f, 10.0f), kRelaxed);
}

void Player::set_label(int label) noexcept {
  if (label < 0 || label >= player::kMostLabels) return;
  for (int i = 0; i < player::kMostLabels; ++i) set_label_weight(i, i == label ? 1.0f : 0.0f);
}

float Player::label_weight(int label) const noexcept {
  if (label < 0 || label >= player::kMostLabels) return 0;
  return impl_->board.labels[static_cast<std::size_t>(label)].load(kRelaxed);
}

LatentControl Player::latent(int latent) const noexcept {
  if (latent < 0 || latent >= player::kMostLatents) return {};
  const player::LatentBoard& from = impl_->board.latents[static_cast<std::size_t>(latent)];
  return {from.scale.load(kRelaxed), from.bias.load(kRelaxed), from.override_value.load(kRelaxed),
          from.override_on.load(kRelaxed)};
}

float Player::latent_value(int latent) const noexcept {
  if (latent < 0 || latent >= player::kMostLatents) return 0;
  return impl_->board.heard.at(0, latent);
}

void Player::store_snapshot(int slot) noexcept {
  if (slot < 0 || slot > 1) return;
  auto& to = impl_->board.snapshots[static_cast<std::size_t>(slot)].values;
  for (std::size_t i = 0; i < to.size(); ++i) to[i].store(impl_->board.heard.values[i].load(kRelaxed), kRelaxed);
}

void Player::recall_snapshot(int slot) noexcept {
  if (slot == 0 || slot == 1) impl_->board.hold.store(Board::kSnapshot + slot, kRelaxed);
}

float Player::snapshot(int slot, int stream, int latent) const noexcept {
  return is_kept(slot, stream, latent) ? impl_->board.snapshots[static_cast<std::size_t>(slot)].at(stream, latent) : 0;
}

void Player::set_snapshot(int slot, int stream, int latent, float value) noexcept {
  if (is_kept(slot, stream, latent) && std::isfinite(value))
    impl_->board.snapshots[static_cast<std::size_t>(slot)].put(stream, latent, value);
}

void Player::set_seed(std::int64_t seed) noexcept { impl_->board.seed.store(seed, kRelaxed); }
void Player::request_reset() noexcept { impl_->reset.store(true, std::memory_order_release); }
void Player::set_offline(bool offline) noexcept { impl_->offline.store(offline, kRelaxed); }
const Meters& Player::meters() const noexcept { return impl_->meters; }

void Player::reset_meters() noexcept {
  impl_->meters.input_peak = impl_->meters.output_peak = 0;
  impl_->meters.worst_load = 0;
  impl_->meters.late_hops = 0;
}

}  // namespace ravel
