// Small valid `.ravel` files with random weights, built in memory, and their parts for tests that break them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ravel::test {

struct SampleTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  bool bf16 = false;  // how it is stored; the values are representable
};

// A file taken apart. `bytes` puts it together, whatever the parts say.
struct SampleFile {
  std::map<std::string, std::string> metadata;  // format, version, graph (JSON), card (JSON)
  std::vector<SampleTensor> tensors;

  SampleTensor& tensor(const std::string& name);
  std::string header() const;            // JSON
  std::vector<std::byte> data() const;   // all tensors, in order
  std::vector<std::byte> bytes() const;  // header length, header, data
};

// 8 bytes of little-endian length, the header, the data.
std::vector<std::byte> assembled(const std::string& header, const std::vector<std::byte>& data);

// hop = bands * product of strides.
struct SampleOptions {
  int channels = 1;
  int bands = 4;
  int width = 4;  // channels of the level next to the bands, doubled at each stride; even
  std::vector<int> strides = {2, 2};
  int latent_size = 6, kept = 4;
  bool sphere = false;            // behind the encoder
  int quantisers = 0, codes = 5;  // quantisers above 0: a discrete latent
  int labels = 0;                 // above 0: the decoder is conditioned
  int prior = 0;                  // quantisers of a prior, of continuous latents `kept`; 0: none
  bool bf16 = false;              // weights of encoder, decoder and prior
  bool snake = false;             // in place of leaky ReLU (one snake is there anyway)
  bool noise = true;              // the filtered-noise branch; needs 4 band frames a hop
  int noise_bands = 5;
  std::uint32_t seed = 1;  // of the weights
};

// An autoencoder that uses every operation. Its golden pair is what the plain reference in reference.h gives.
SampleFile every_op(const SampleOptions& options = {});

// The smallest one: a convolution down to `hop` samples a frame, one up again; one latent.
SampleFile minimal(int hop = 8, std::uint32_t seed = 1);

// A pure delay whose latents are the samples of a hop, for what has to be exact: the output is the input, as late as the
// card says. hop * channels latents.
struct EchoOptions {
  int hop = 16, channels = 1;
  int delay_samples = 0;  // of the decoder
  int delay_frames = 0;   // of the encoder
  int sample_rate_hz = 44100;
  float gain = 1;  // of the encoder
  int labels = 0;  // above 0: label i adds i to every sample
};
SampleFile echo(const EchoOptions& options = {});

}  // namespace ravel::test
