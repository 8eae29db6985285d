// A model made ready for one host: its rate, blocks and channels, with a known latency.
#pragma once

#include <memory>
#include <vector>

#include "player/core.h"
#include "player/fifo.h"
#include "player/resampler.h"
#include "player/timing.h"
#include "player/worker.h"
#include "ravel/player.h"

namespace ravel::player {

struct VoiceOptions {
  Host host;
  Method method = Method::forward;
  Mode mode = Mode::automatic;
  int core_slices = 0;
  int latency = 0;  // at least, in host samples
};

class Voice {
 public:
  Voice(std::shared_ptr<const Model> model, const VoiceOptions& options, Board& board, Meters& meters);

  // Host channels, all finite, n at most the host's largest block.
  void process(const float* const* in, float* const* out, int n, bool offline) noexcept;
  // Host inputs to host outputs, as late as what `process` gives.
  void delay_dry(const float* const* in, float* const* out, int n) noexcept;
  void reset() noexcept;
  void show(bool on) noexcept { core_.shaper().show(on); }
  // Silence for n samples before the first hop begins.
  void wait(int n) noexcept { waiting_ = n; }

  const std::shared_ptr<const Model>& model() const noexcept { return model_; }
  int latency() const noexcept { return latency_; }
  Mode mode() const noexcept { return plan_.mode; }
  bool resampled() const noexcept { return !rates_.same(); }
  // Its end would wait for a worker.
  bool busy() const noexcept { return worker_ && worker_->busy(); }
  int beat() const noexcept { return hop_ * plan_.hops; }  // samples after which it begins anew

  Voice* next = nullptr;  // of those that wait to be freed

 private:
  bool takes_audio() const noexcept { return ravel::takes_audio(method_); }
  bool gives_audio() const noexcept { return ravel::gives_audio(method_); }
  int extra_delay() const;
  void plan_audio(int at_least);
  void plan_frames(int at_least);
  void allocate();

  void run(const float* const* in, float* const* out, int n, bool offline) noexcept;
  void take_audio(const float* const* in, int n) noexcept;
  void take_latents(const float* const* in, int n) noexcept;
  void run_hops(bool offline) noexcept;
  void run_slices() noexcept;
  void aim_rows(int rows) noexcept;
  void finish_rows(int rows) noexcept;
  void give_audio(float* const* out, int n) noexcept;
  void give_latents(float* const* out, int n) noexcept;

  std::shared_ptr<const Model> model_;
  Host host_;
  Method method_;
  MethodInfo info_;
  int hop_, streams_, in_rows_, out_rows_;  // rows: channels of all streams
  Rates rates_;
  Schedule plan_;
  Meters& meters_;
  Core core_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Resampler> resampler_in_, resampler_out_;

  int latency_ = 0;
  int zeros_ = 0;        // that the output queue begins with: samples, or frames of `encode`
  int prime_zeros_ = 0;  // that the output resampler begins with
  double prime_first_ = 1;

  Fifo in_, out_, dry_;  // model samples or frames; host samples or frames; host samples
  GroupClock hops_in_, slices_in_, hops_out_;
  int slices_due_ = 0;
  int slice_in_ = 0, slice_out_ = 0;  // within the hop that is read, and that is given (below 0: none yet)
  int waiting_ = 0;
  std::vector<float> silence_, stage_, held_;
  std::vector<const float*> in_pointers_, shifted_in_;
  std::vector<float*> out_pointers_, shifted_out_;
};

}  // namespace ravel::player
