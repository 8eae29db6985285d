// The dense inner loops as a table of functions, one table for each instruction set.
//
// Activations are channels-last rows of float32 (or bfloat16 where a native dot product reads them). Every output has
// one order of accumulation (tap, then channel), whatever the number of rows, panels or streams in a call, so any
// split of the work gives the same bits. This header is included by code compiled for newer CPUs than the host's:
// it holds plain data and declarations only, nothing inline or templated that the linker could share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ravel/cpu.h"

namespace ravel::kernels {

// A map may read and write this many floats beyond its n (buffers have the room, the values do not matter).
enum { kSlackFloats = 16, kDrawSlackFloats = 64 };

enum Format {
  f32,       // float weights, float rows
  bf16,      // bfloat16 weights widened on the fly, float rows
  bf16_dot,  // pairs of bfloat16 weights, bfloat16 rows, the native dot product (avx512_bf16 only)
};

// The weights of a convolution. A window of its input is `taps` runs of `run` contiguous values; the reduction goes
// through them in that order. Outputs are cut into panels of `width`, the last one padded with zeros.
struct Weights {
  Format format;
  int taps, run;  // run is even for bf16_dot
  int outputs, width, panels;
  const void* data;   // f32: [panel][tap][run][width], bf16 and bf16_dot: [panel][tap][(run + 1) / 2][width][2]
  const float* bias;  // panels * width floats, or null
};

// Rows n = stream * frames + t of a call lie at first + stream * stream_stride + t * row_stride (in elements).
struct Input {
  const void* first;  // oldest value of the first window: float or bfloat16
  std::ptrdiff_t row_stride, stream_stride;
  std::ptrdiff_t tap_stride;  // between the runs of a window
};
struct Addend {
  const float* first;  // null: none
  std::ptrdiff_t row_stride, stream_stride;
};
struct Output {
  void* first;  // null: not wanted
  std::ptrdiff_t row_stride, stream_stride;
};

// y = sum over the window + bias + addend, stored to `raw`; y < 0 ? slope * y : y, stored to `act`.
// Only the panels first_panel .. last_panel - 1 are computed; nothing outside `outputs` columns is written.
struct Conv {
  const Weights* weights;
  Input x;
  int frames, streams;
  int first_panel, last_panel;
  Addend add;
  Output raw;  // float
  Output act;  // float, or bfloat16 (round to nearest even) where act_bf16
  bool act_bf16;
  float slope;
};

struct Table {
  Isa isa;
  int lanes;  // floats of a vector
  // Panel width for a convolution of this many outputs and rows a hop: the tile shape of this instruction set.
  int (*panel_width)(int outputs, Format format, int rows) noexcept;
  void (*conv)(const Conv& call) noexcept;

  // Maps over n contiguous floats. x and y may be the same.
  void (*leaky)(const float* x, float slope, float* y, std::size_t n) noexcept;
  void (*to_bf16)(const float* x, float slope, std::uint16_t* y, std::size_t n) noexcept;  // leaky, then rounded
  void (*tanh)(const float* x, float* y, std::size_t n) noexcept;
  void (*amplitude)(const float* x, float offset, float* y, std::size_t n) noexcept;  // 2 sigmoid(x + o)^2.3 + 1e-7
  void (*add)(const float* a, const float* b, float* y, std::size_t n) noexcept;
  void (*multiply)(const float* a, const float* b, float* y, std::size_t n) noexcept;
  // Rows: y (rows, channels); gate reads rows of 2 * channels: first half times sigmoid(second half).
  void (*gate)(const float* x, float* y, std::size_t rows, int channels) noexcept;
  // Likewise: tanh of the first half times sigmoid(second half).
  void (*gated_tanh)(const float* x, float* y, std::size_t rows, int channels) noexcept;
  void (*snake)(const float* x, const float* alpha, float* y, std::size_t rows, int channels) noexcept;

  // A choice by weights exp(x[i] / temperature): the first of n whose cumulated weight exceeds `share` (0 to 1) of all;
  // at temperature 0 the first of the largest. Reads n floats; scratch has n + kDrawSlackFloats. Gives 0 to n - 1.
  int (*draw)(const float* x, int n, float temperature, float share, float* scratch) noexcept;

  // Noise: y[c] = the top 24 bits of mix(keys[c] ^ frame), in [-1, 1). `frame` is the low half of the position.
  void (*noise_row)(const std::uint32_t* keys, std::uint32_t frame, float* y, int channels) noexcept;
  // One frame of filters: magnitudes (bands, noise_bands) times response (noise_bands, taps), as (taps, bands).
  void (*noise_filters)(const float* magnitudes, const float* response, int bands, int noise_bands, int taps,
                        float* filters) noexcept;
  // y (rows, bands): y[t][b] = sum over k of noise[t + k][b] * filters[k][b].
  void (*noise_fir)(const float* noise, const float* filters, int bands, int taps, int rows, float* y) noexcept;

  // Flush-to-zero for the calling thread; returns the control word to give back to `restore_denormals`.
  std::uint64_t (*flush_denormals)() noexcept;
  void (*restore_denormals)(std::uint64_t control) noexcept;
};

// The table of a supported instruction set.
const Table& table(Isa isa);

}  // namespace ravel::kernels
