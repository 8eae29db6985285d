// A checked graph compiled for one instruction set: packed weights, and for each method a list of ops over buffers.
//
// A signal between layers lies in buffers of channels-last rows that keep as much past as their readers need, so a
// delay, a hold or a skip path costs nothing: its reader looks further back. Activations are not ops: the convolution
// that makes a signal stores it as its readers want it (plain, activated, as bfloat16), residual sums included.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/arena.h"
#include "kernels/kernels.h"
#include "model/graph.h"
#include "ravel/model.h"

namespace ravel::engine {

struct Buffer {
  int width = 0;    // values of a row
  int planes = 1;   // audio comes with a plane a channel, everything else as rows of all channels
  int frames = 0;   // rows a hop
  int history = 0;  // rows before the newest block that some reader looks back to
  bool bf16 = false;
};

// Where an op reads: rows of its block, `behind` rows earlier.
struct Reader {
  int buffer = -1;
  int behind = 0;
};

// One convolution of a group of channels; most ops have one.
struct ConvPart {
  int weights = 0;  // index into Blueprint::weights
  int x_plane = 0, x_column = 0, y_column = 0;
};

struct Noise {
  int node = 0, channels = 0;
};

struct Op {
  enum class Kind {
    conv,
    activate,
    tanh,
    amplitude,
    gate,
    gated_tanh,
    snake,
    sphere,
    repeat,
    add,
    multiply,
    noise,
    latent,
    fill,
    quantise,
    codebook,
    condition,
    hear,
    draw
  };

  Kind kind = Kind::conv;
  std::string name;
  // b: the second operand, or what a convolution adds; codebook, fill: what a prior plays; draw: what it hears
  Reader a, b;
  Reader warmth;           // draw: added to its temperature
  int raw = -1, act = -1;  // buffers written: the result, and leaky(result, slope), as bfloat16 if that buffer is;
                           // draw: the next row of the pattern, of numbers from 1, and the frame that it completes
  float slope = 1;
  int rows_in = 0, rows_out = 0;  // a hop
  int down = 1;                   // rows_in come in multiples of this

  std::vector<ConvPart> parts;     // conv; latent: the rotation
  int stride = 1, tap_stride = 0;  // tap_stride in values
  int window = 0;                  // past rows that the window of a block's first output starts at
  int out_step = 1;                // rows of the buffer that one result fills (upsampling)
  float offset = 0;                // amplitude
  std::vector<float> vector;       // snake: alpha; noise: response; codebook: offset
  int noise_bands = 0, ratio = 1;  // noise
  int noise = -1;                  // index into Program::noises
  int noise_buffer = -1;           // noise: rows of white noise
  int kept = 0, size = 0;          // latent, fill; codes: size of a vector
  int quantiser = 0;               // quantise: which one, and with its number as many codes as found
  int quantisers = 0;              // hear, draw: of a row
  int codes = 0, table = -1;  // quantise, codebook: vectors (quantisers, codes, size), index into Blueprint::tables
                              // condition: (labels, size)
  float first = 0;            // codebook: the number of the first code, below which there is none
  bool scaled = false, hooked = false;  // codebook: its vectors are latents that scale and bias, or the hook, shape

  double flops = 0, weight_bytes = 0;  // a hop and stream
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Op> ops;
  std::vector<Noise> noises;
  int input = -1;  // buffer that the caller's data goes into
  Reader output;
  int in_channels = 0, out_channels = 0;
  int in_frames = 0, out_frames = 0;  // a hop
  bool shapes_latents = false;        // decode and forward: scale and bias before `fill`
  // The ops of a prior: each hop hears the one before it, so that they take one hop at a time.
  int first_of_prior = 0, after_prior = 0;
};

struct Blueprint {
  const kernels::Table* kernels = nullptr;
  Arena arena;
  std::vector<kernels::Weights> weights;
  std::vector<std::vector<float>> tables;
  std::array<Program, kEveryMethod.size()> programs;  // by Method
};

std::unique_ptr<const Blueprint> compile(const graph::Graph& graph, const kernels::Table& table);

const char* name(Op::Kind kind) noexcept;

}  // namespace ravel::engine
