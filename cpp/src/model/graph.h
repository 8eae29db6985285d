// What a `.ravel` file says, checked: tensors and a tree of layers whose every integer is resolved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ravel/model.h"

namespace ravel::graph {

// A view into the file's bytes, which must outlive it; little-endian, not necessarily aligned.
struct Tensor {
  enum class Type { f32, bf16 };
  std::string name;
  std::vector<std::int64_t> shape;
  Type type = Type::f32;
  const std::byte* data = nullptr;

  std::size_t count() const noexcept;
  std::vector<float> values() const;  // as float32, whatever the type
};

struct Node;

struct Serial {
  std::vector<Node> layers;
};
struct Combine {  // branches over one input, each late by `waits` frames of its output, added or multiplied
  bool product = false;
  std::vector<Node> branches;
  std::vector<int> waits;
};
// Weight (out, kernel, in / groups); output n sees rows n * stride - history .. + (kernel - 1) * dilation.
struct Conv1d {
  int kernel = 1, stride = 1, dilation = 1, groups = 1, hold = 0;
  Tensor weight;
  std::vector<float> bias;  // empty: none

  int history() const noexcept { return (kernel - 1) * dilation + 1 - stride + hold; }
};
struct Upsample {  // weight (ratio * out, taps, in), row r * out + o; a convolution over taps - 1 past frames and this
  int ratio = 1, taps = 1;
  Tensor weight;
  std::vector<float> bias;
};
struct Delay {
  int frames = 0;
};
struct LeakyReLU {
  float slope = 0;
};
struct Snake {
  std::vector<float> alpha;
};
struct Tanh {};
struct Amplitude {
  float offset = 0;
};
struct GatedHalf {};
struct GatedTanh {};  // tanh of the first half of the channels times the sigmoid of the second
struct Part {         // channels first .. first + out - 1, for convolutions
  int first = 0;
};
struct Sphere {};  // every frame at the length sqrt(channels)
struct Repeat {
  int times = 1;
};
struct FilteredNoise {
  int bands = 0, noise_bands = 0, ratio = 1, node = 0;
  std::vector<float> response;  // (noise_bands, taps), taps = 2 * (noise_bands - 1)
};
struct Variational {  // in: size means, then size raw scales; out: the `kept` strongest
  int size = 0, kept = 0, node = 0;
  std::vector<float> rotation;  // (size, size), one component a row
};
struct Fill {  // from `kept` to `size`
  int kept = 0, size = 0, node = 0;
};
// In: vectors; out: a number a quantiser, each of the code nearest to what those before it left over.
struct Quantise {
  int quantisers = 0, codes = 0;
  std::vector<float> codebook;  // (quantisers, codes, in)
  std::vector<float> bias;      // (quantisers, codes): -|code|^2 / 2, so that the nearest has the largest product
};
struct Codebook {  // in: those numbers, -1 for none; out: offset + the sum of their vectors
  int quantisers = 0, codes = 0;
  std::vector<float> codebook;  // (quantisers, codes, out)
  std::vector<float> offset;    // (out)
};

struct Condition {  // in + a weighted sum of the rows of a table, a row a label
  int labels = 0;
  std::vector<float> table;  // (labels, out)
};

struct Node {
  std::string name;  // its place in the network, for messages and profiles
  int in_channels = 0, out_channels = 0;
  int down = 1, up = 1;  // `down` input frames give `up` output frames
  std::variant<Serial, Combine, Conv1d, Upsample, Delay, LeakyReLU, Snake, Tanh, Amplitude, GatedHalf, Repeat,
               FilteredNoise, Variational, Fill, Quantise, Codebook, Sphere, Condition, GatedTanh, Part>
      op;
};

// Goes on by itself. Row t of a delay pattern holds number q of frame t - q; a row is drawn from the logits that the
// network makes of the rows before it.
struct Prior {
  int quantisers = 0, codes = 0, noise_node = 0;
  Node network;                       // rows of numbers, -1 for none, to the next row's logits; begins with a codebook
  std::optional<Node> listen, speak;  // of continuous latents: quantise what is played, and back
};

// A golden pair at temperature 0 and seed 0: latents = encode(audio), output = forward(audio) = decode(latents).
struct Golden {
  int hops = 0;
  std::vector<float> audio, latents, output;  // (channels, frames)
  std::vector<float> prior;  // likewise: what it plays by itself at temperature 0; empty: there is none
};

struct Graph {
  Info info;
  Node front;       // analysis, encoder: audio to latent parameters
  Node latent;      // latent parameters to played latents
  Node completion;  // played latents to all of them
  Node back;        // decoder, synthesis: latents to audio
  std::optional<Prior> prior;
  Golden golden;
};

// Throws Error, naming the node or tensor. Nothing in the bytes is trusted; the graph's tensors point into them.
Graph read(const std::byte* bytes, std::size_t size);

}  // namespace ravel::graph
