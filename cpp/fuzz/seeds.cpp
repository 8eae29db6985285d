// Writes the seed corpus of the fuzzer, small sound models of every kind: fuzz_seeds FOLDER
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "sample_models.h"

using ravel::test::every_op;
using ravel::test::minimal;
using ravel::test::SampleFile;

int main(int count, char** arguments) {
  if (count != 2) {
    std::puts("usage: fuzz_seeds FOLDER");
    return 1;
  }
  const std::filesystem::path folder = arguments[1];
  std::filesystem::create_directories(folder);
  const std::map<std::string, SampleFile> seeds = {
      {"minimal", minimal()},
      {"hop-1", minimal(1)},
      {"mono", every_op({.bands = 2, .width = 2, .latent_size = 3, .kept = 2})},
      {"stereo-bf16", every_op({.channels = 2, .bands = 2, .width = 2, .latent_size = 2, .kept = 2, .bf16 = true})},
      {"snake", every_op({.bands = 2, .width = 2, .strides = {4}, .latent_size = 1, .kept = 1, .snake = true})},
      {"codes", every_op({.bands = 2, .width = 2, .latent_size = 3, .quantisers = 2})},
      {"prior", every_op({.bands = 2, .width = 2, .latent_size = 3, .quantisers = 2, .prior = 3})},
      {"prior-latents", every_op({.bands = 2, .width = 2, .latent_size = 2, .kept = 2, .prior = 2})},
      {"plain", every_op({.bands = 1, .width = 2, .strides = {2}, .latent_size = 1, .kept = 1, .noise = false})},
  };
  for (const auto& [name, file] : seeds) {
    const auto bytes = file.bytes();
    std::ofstream(folder / (name + ".ravel"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }
  return 0;
}
