// Host samples -> resampler -> queue -> hops or slices -> resampler -> queue -> host samples.
#include "player/voice.h"

#include <algorithm>
#include <cmath>

namespace ravel::player {

namespace {

// Small hops are for playing live: there the shorter resampler's latency is worth more than the last kilohertz.
constexpr int kLiveHop = 256;
constexpr int kMostHops = 8;        // that one engine call takes: weights are read once for all of them
constexpr int kMostStreams = 1024;  // as the engine
constexpr double kTiny = 1e-6;      // samples; far above rounding, far below a tenth of a sample

int stream_count(const MethodInfo& info, const Host& host) {
  if (info.in_channels == 0) return 1;  // a script without this method, which its engine says
  const int in = host.in_channels / info.in_channels, out = host.out_channels / info.out_channels;
  return std::clamp(std::min(in, out), 1, kMostStreams);
}

int hops_a_call(const Info& info, const Host& host, const Schedule& plan) {
  if (plan.mode != Mode::inline_) return plan.hops;
  const double samples = 1.0 * host.max_block * info.sample_rate_hz / host.sample_rate_hz;
  return std::clamp(static_cast<int>(std::ceil(samples / info.hop_samples)), 1, kMostHops);
}

Settings settings_for(const Schedule& plan, int streams, int max_hops) {
  return {streams, max_hops, plan.slices, plan.core_slices};
}

}  // namespace

Voice::Voice(std::shared_ptr<const Model> model, const VoiceOptions& options, Board& board, Meters& meters)
    : model_(std::move(model)),
      host_(options.host),
      method_(options.method),
      info_(model_->info().method(method_)),
      hop_(model_->info().hop_samples),
      streams_(stream_count(info_, host_)),
      in_rows_(streams_ * info_.in_channels),
      out_rows_(streams_ * info_.out_channels),
      rates_(sample_rate(*model_, host_), host_.sample_rate_hz),
      plan_(schedule(*model_, method_, streams_, host_, options.mode, options.core_slices)),
      meters_(meters),
      core_(model_, method_, settings_for(plan_, streams_, hops_a_call(model_->info(), host_, plan_)), board) {
  const Quality quality = hop_ <= kLiveHop ? Quality::fast : Quality::fine;
  if (!rates_.same() && takes_audio()) {
    resampler_in_ = std::make_unique<Resampler>(in_rows_, rates_.model_per_host(), quality);
  }
  if (!rates_.same() && gives_audio()) {
    resampler_out_ = std::make_unique<Resampler>(out_rows_, 1 / rates_.model_per_host(), quality);
  }
  if (gives_audio()) {
    plan_audio(options.latency);
  } else {
    plan_frames(options.latency);
  }
  allocate();
  reset();
  if (plan_.mode == Mode::threaded) worker_ = std::make_unique<Worker>(core_, in_rows_, out_rows_);
}

// By which the way of running makes the engine's output later, in model samples.
int Voice::extra_delay() const {
  return plan_.mode == Mode::threaded ? plan_.quantum : core_.engine().sliced_delay_samples();
}

void Voice::plan_audio(int at_least) {
  const double ratio = rates_.model_per_host();
  Path path;
  path.rates = rates_;
  path.block = host_.fixed_block > 0 ? host_.fixed_block : 1;
  path.quantum = plan_.quantum;
  path.hold_back = takes_audio() ? 0 : std::max(0, hop_ - plan_.quantum);  // the frame is there at the end of its hop
  path.look_ahead_in = resampler_in_ ? resampler_in_->look_ahead() : 0;
  path.look_ahead_out = resampler_out_ ? resampler_out_->look_ahead() : 0;
  path.delay = info_.delay_samples + extra_delay();
  // latents count from the sample that is read, the last one of their hop
  const double from = takes_audio() ? 0 : hop_ / ratio - 1;
  latency_ = std::max({static_cast<int>(std::floor(lack(path) - from + kTiny)) + 1, at_least, 0});
  const int least_zeros = resampler_out_ ? resampler_out_->least_zeros() : 0;
  if (resampler_out_) {
    latency_ = std::max(latency_, static_cast<int>(std::ceil((least_zeros + path.delay) / ratio - from)));
  }
  const double total = latency_ + from;
  if (!resampler_out_) {
    zeros_ = static_cast<int>(std::lround(total)) - path.delay;
    return;
  }
  // zeros in the queue for whole samples, zeros in the resampler for the rest, its phase for the fraction
  zeros_ = static_cast<int>(std::floor(total - (least_zeros + path.delay) / ratio));
  const double behind = ratio * (total - zeros_) - path.delay;
  prime_zeros_ = static_cast<int>(std::ceil(behind + 0.25));
  prime_first_ = prime_zeros_ - behind;
}

// A frame is shown from the last sample of a hop on, where `decode` reads it: patched into each other they keep the
// sum of their latencies.
void Voice::plan_frames(int at_least) {
  const double ratio = rates_.model_per_host();
  const int core = plan_.mode == Mode::sliced ? (plan_.core_slices - 1) * plan_.quantum : extra_delay();
  const double late = core + (resampler_in_ ? resampler_in_->look_ahead() * ratio : 0);
  zeros_ = static_cast<int>(std::ceil(late / hop_ - 1e-9)) + plan_.hops - 1;  // the first of a call waits for the last
  const auto latency = [&] {
    return static_cast<int>(std::lround(((zeros_ + 1.0) * hop_ + info_.delay_samples) / ratio - 1));
  };
  while (latency() < at_least) ++zeros_;
  latency_ = latency();
  if (plan_.mode == Mode::threaded) zeros_ -= plan_.hops;  // the worker begins with zeros of its own
}

void Voice::allocate() {
  const double ratio = rates_.model_per_host();
  const int block = host_.max_block;
  const int in_samples = static_cast<int>(std::ceil(block * ratio)) + 2;  // model samples of a block
  const int hops = in_samples / hop_ + 2;
  const int beat_host = static_cast<int>(std::ceil(beat() / ratio)) + 2;
  in_ = Fifo(in_rows_, takes_audio() ? beat() + in_samples : hops + plan_.hops);
  out_ = gives_audio() ? Fifo(out_rows_, zeros_ + latency_ + block + 2 * beat_host + 256)
                       : Fifo(out_rows_, zeros_ + 2 * (hops + plan_.hops));
  if (gives_audio() && takes_audio())
    dry_ = Fifo(std::min(host_.in_channels, host_.out_channels), latency_ + block, latency_);
  hops_in_ = hops_out_ = GroupClock(rates_, hop_);
  slices_in_ = GroupClock(rates_, plan_.quantum);
  silence_.assign(static_cast<std::size_t>(block), 0.0f);
  const int rows = std::max(core_.engine().out_frames() * core_.engine().settings().max_hops, block);
  stage_.assign(static_cast<std::size_t>(rows) * out_rows_, 0.0f);
  held_.assign(static_cast<std::size_t>(out_rows_), 0.0f);
  in_pointers_.resize(static_cast<std::size_t>(in_rows_));
  out_pointers_.resize(static_cast<std::size_t>(out_rows_));
  shifted_in_.resize(static_cast<std::size_t>(host_.in_channels));
  shifted_out_.resize(static_cast<std::size_t>(host_.out_channels));
}

void Voice::reset() noexcept {
  in_.clear(0);
  out_.clear(zeros_);
  if (resampler_in_) resampler_in_->reset();
  if (resampler_out_) resampler_out_->prime(prime_first_, prime_zeros_, out_);
  if (worker_) {
    worker_->reset();
  } else {
    core_.reset();
  }
  hops_in_.reset();
  slices_in_.reset();
  hops_out_.reset();
  slices_due_ = 1 - plan_.slices;
  slice_in_ = 0;
  slice_out_ = -extra_delay() / plan_.quantum;
  std::fill(held_.begin(), held_.end(), 0.0f);
}

void Voice::process(const float* const* in, float* const* out, int n, bool offline) noexcept {
  const int silent = std::min(waiting_, n);
  waiting_ -= silent;
  for (int c = 0; c < host_.in_channels; ++c) shifted_in_[static_cast<std::size_t>(c)] = in[c] + silent;
  for (int c = 0; c < host_.out_channels; ++c) {
    std::fill_n(out[c], silent, 0.0f);
    shifted_out_[static_cast<std::size_t>(c)] = out[c] + silent;
  }
  if (silent < n) run(shifted_in_.data(), shifted_out_.data(), n - silent, offline);
}

void Voice::delay_dry(const float* const* in, float* const* out, int n) noexcept {
  const int channels = dry_.channels();
  dry_.reserve(n);
  for (int c = 0; c < channels; ++c) std::copy_n(in[c], n, dry_.end(c));
  dry_.add(n);
  dry_.take(out, n);
  for (int c = channels; c < host_.out_channels; ++c) {
    if (channels == 1) {  // mono is heard on every output
      std::copy_n(out[0], n, out[c]);
    } else {
      std::fill_n(out[c], n, 0.0f);
    }
  }
}

void Voice::run(const float* const* in, float* const* out, int n, bool offline) noexcept {
  if (takes_audio()) {
    take_audio(in, n);
  } else {
    take_latents(in, n);
  }
  if (plan_.mode == Mode::sliced) {
    run_slices();
  } else {
    run_hops(offline);
  }
  if (gives_audio()) {
    give_audio(out, n);
  } else {
    give_latents(out, n);
  }
}

void Voice::take_audio(const float* const* in, int n) noexcept {
  for (int i = 0; i < in_rows_; ++i) {
    // a model of more channels than the bus has is fed the last of them again
    const int channel = streams_ == 1 ? std::min(i, host_.in_channels - 1) : i;
    in_pointers_[static_cast<std::size_t>(i)] = channel >= 0 ? in[channel] : silence_.data();
  }
  if (resampler_in_) {
    resampler_in_->process(in_pointers_.data(), n, in_);
    return;
  }
  in_.reserve(n);
  for (int i = 0; i < in_rows_; ++i) std::copy_n(in_pointers_[static_cast<std::size_t>(i)], n, in_.end(i));
  in_.add(n);
}

// The last sample of every hop is a frame.
void Voice::take_latents(const float* const* in, int n) noexcept {
  for (int at = 0; at < n;) {
    const int step = hops_in_.until_next();
    if (at + step > n) {
      hops_in_.advance(n - at);
      break;
    }
    at += step;
    for (int frames = hops_in_.advance(step); frames > 0; --frames) {
      in_.reserve(1);
      for (int i = 0; i < in_rows_; ++i) *in_.end(i) = i < host_.in_channels ? in[i][at - 1] : 0.0f;
      in_.add(1);
    }
  }
  if (plan_.mode == Mode::sliced) slices_due_ += slices_in_.advance(n);
}

// Where the engine's next rows go: to the queue itself, or to the stage before the resampler.
void Voice::aim_rows(int rows) noexcept {
  if (!resampler_out_) out_.reserve(rows);
  for (int i = 0; i < out_rows_; ++i) {
    out_pointers_[static_cast<std::size_t>(i)] =
        resampler_out_ ? stage_.data() + static_cast<std::size_t>(i) * rows : out_.end(i);
  }
}

void Voice::finish_rows(int rows) noexcept {
  if (!resampler_out_) {
    out_.add(rows);
    return;
  }
  resampler_out_->process(const_cast<const float* const*>(out_pointers_.data()), rows, out_);
}

void Voice::run_hops(bool offline) noexcept {
  const int in_frames = core_.engine().in_frames(), out_frames = core_.engine().out_frames();
  while (in_.size() >= plan_.hops * in_frames) {
    const int hops = std::min(in_.size() / in_frames, core_.engine().settings().max_hops);
    aim_rows(hops * out_frames);
    for (int i = 0; i < in_rows_; ++i) in_pointers_[static_cast<std::size_t>(i)] = in_.begin(i);
    if (!worker_) {
      core_.run(in_pointers_.data(), out_pointers_.data(), hops);
    } else if (!worker_->exchange(in_pointers_.data(), out_pointers_.data(), offline)) {
      meters_.late_hops.fetch_add(1, std::memory_order_relaxed);
    }
    finish_rows(hops * out_frames);
    in_.drop(hops * in_frames);
  }
}

void Voice::run_slices() noexcept {
  const int slices = plan_.slices;
  while (takes_audio() ? in_.size() >= plan_.quantum : slices_due_ > 0) {
    const int rows = gives_audio() ? plan_.quantum : 1;
    aim_rows(rows);
    for (int i = 0; i < in_rows_; ++i) in_pointers_[static_cast<std::size_t>(i)] = in_.begin(i);
    core_.slice(in_pointers_.data(), out_pointers_.data());
    if (gives_audio() || slice_out_ == 0) finish_rows(rows);  // every slice of a hop gives the same frame
    if (takes_audio()) {
      in_.drop(plan_.quantum);
    } else {
      --slices_due_;
      if (slice_in_ == 0) in_.drop(1);  // the first slice of a hop read it
    }
    slice_in_ = (slice_in_ + 1) % slices;
    slice_out_ = slice_out_ + 1 == slices ? 0 : slice_out_ + 1;
  }
}

void Voice::give_audio(float* const* out, int n) noexcept {
  const int outs = host_.out_channels;
  if (out_rows_ <= outs) {
    out_.take(out, n);
    for (int c = out_rows_; c < outs; ++c) {
      if (out_rows_ == 1) {  // mono is heard on every output
        std::copy_n(out[0], n, out[c]);
      } else {
        std::fill_n(out[c], n, 0.0f);
      }
    }
    return;
  }
  // more than the host has: a mono bus gets the mean, others the first
  for (int i = 0; i < out_rows_; ++i) {
    out_pointers_[static_cast<std::size_t>(i)] = stage_.data() + static_cast<std::size_t>(i) * n;
  }
  out_.take(out_pointers_.data(), n);
  for (int c = 0; c < outs; ++c) std::copy_n(out_pointers_[static_cast<std::size_t>(c)], n, out[c]);
  if (outs != 1) return;
  for (int t = 0; t < n; ++t) {
    float sum = 0;
    for (int i = 0; i < out_rows_; ++i) sum += out_pointers_[static_cast<std::size_t>(i)][t];
    out[0][t] = sum / static_cast<float>(out_rows_);
  }
}

void Voice::give_latents(float* const* out, int n) noexcept {
  const int outs = std::min(out_rows_, host_.out_channels);
  for (int i = 0; i < out_rows_; ++i) out_pointers_[static_cast<std::size_t>(i)] = &held_[static_cast<std::size_t>(i)];
  for (int at = 0; at < n;) {
    const int step = std::min(hops_out_.until_next(), n - at);
    const int frames = hops_out_.advance(step);
    const int last = frames > 0 ? step - 1 : step;  // the last sample of a hop shows the new frame
    for (int c = 0; c < outs; ++c) std::fill_n(out[c] + at, last, held_[static_cast<std::size_t>(c)]);
    for (int i = 0; i < frames; ++i) out_.take(out_pointers_.data(), 1);
    for (int c = 0; c < outs; ++c) std::fill_n(out[c] + at + last, step - last, held_[static_cast<std::size_t>(c)]);
    at += step;
  }
  for (int c = outs; c < host_.out_channels; ++c) std::fill_n(out[c], n, 0.0f);
}

}  // namespace ravel::player
