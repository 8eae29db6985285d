// Runs the ops of a program over the rows of one or several streams.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/blueprint.h"
#include "engine/noise.h"
#include "engine/rows.h"
#include "engine/running.h"
#include "engine/schedule.h"

namespace ravel::engine {

class Runner {
 public:
  // `late[b]`: rows of buffer b that may wait for a reader, `blocks`: most hops that are written at once.
  Runner(const Blueprint& blueprint, const Program& program, int streams, int blocks, const std::vector<int>& late);

  void reset() noexcept;
  void reseed() noexcept;

  // `rows` rows of the input, from in[stream * channels + channel] + offset.
  void take(const float* const* in, int rows) noexcept;
  // Rows first .. first + rows - 1 of the output since the reset, to out[stream * channels + channel].
  void give(std::int64_t first, int rows, float* const* out) noexcept;

  // Room for the next hops of a prior: until the last of them is read, none may move.
  void reserve_prior(int hops) noexcept;
  // An op over the next `rows_in` rows of its input.
  void run(int op, int rows_in) noexcept;
  // A part of it; the parts of a block are run in order.
  void run(const Unit& unit, int rows_in) noexcept;
  // The whole of an op as a unit.
  Unit whole(int op, int rows_in) const noexcept;

  std::int64_t rows_ready() const noexcept;  // of the output
  std::vector<float> latest(int op) const;   // row of its result, of every stream; empty: it keeps none
  std::size_t bytes() const noexcept { return arena_.bytes(); }

  Controls controls;

 private:
  struct Clock {
    std::int64_t in = 0, out = 0;  // rows read and written so far
  };

  void open(const Op& op, int rows_out) noexcept;
  void close(int index, int rows_in, int rows_out) noexcept;
  void convolve(const Op& op, const Clock& clock, const Unit& unit) noexcept;
  void map(const Op& op, const Clock& clock, int rows) noexcept;
  void make_noise(const Op& op, const Clock& clock, int rows_in) noexcept;
  void draw_latent(const Op& op, const Clock& clock, int rows) noexcept;
  void fill(const Op& op, const Clock& clock, int rows) noexcept;
  void quantise(const Op& op, const Clock& clock, int rows) noexcept;
  void look_up(const Op& op, const Clock& clock, int rows) noexcept;
  void condition(const Op& op, const Clock& clock, int rows) noexcept;
  void hear(const Op& op, const Clock& clock) noexcept;
  void draw(const Op& op, const Clock& clock) noexcept;
  bool of_prior(int op) const noexcept { return op >= program_.first_of_prior && op < program_.after_prior; }
  void rest(const Op& op, int rows_out) noexcept;
  void blend(const float* mine, const float* prior, float* y, int n) const noexcept;
  void add_codes(const Op& op, const float* numbers, int quantisers, float* y) const noexcept;
  void edit(float* z, int latents, int stream) noexcept;
  void remember_noise(const Op& op) noexcept;

  const Blueprint& blueprint_;
  const kernels::Table& kernels_;
  const Program& program_;
  int streams_;
  std::vector<Rows> rows_;
  std::vector<Clock> clocks_;
  std::vector<NoiseState> noises_;
  Arena arena_;
  std::vector<float> scratch_;
  float amount_ = 1;  // of the prior, from the first of its ops on the same for a whole hop
};

}  // namespace ravel::engine
