// An engine driven as a host would, by whole hops or slice by slice, over noise.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "ravel/engine.h"

namespace ravel::test {

using Audio = std::vector<std::vector<float>>;  // stream * channels + channel, frames

inline Audio noise(int rows, int frames, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  Audio x(rows, std::vector<float>(frames));
  for (auto& row : x) std::generate(row.begin(), row.end(), [&] { return value(random); });
  return x;
}

inline Audio input(const Model& model, Method method, int streams, int hops, unsigned seed = 7) {
  const MethodInfo& info = model.info().method(method);
  return noise(streams * info.in_channels, hops * model.info().hop_samples / info.in_ratio, seed);
}

// Runs `hops` through an engine in the blocks given, or hop by hop.
inline Audio run(Engine& engine, const Model& model, Method method, const Audio& x, const std::vector<int>& blocks) {
  const MethodInfo& info = model.info().method(method);
  const int streams = engine.settings().streams;
  int hops = 0;
  for (const int block : blocks) hops += block;
  Audio y(streams * info.out_channels, std::vector<float>(std::size_t(hops) * engine.out_frames()));
  std::vector<const float*> in(x.size());
  std::vector<float*> out(y.size());
  int hop = 0;
  for (const int block : blocks) {
    for (std::size_t i = 0; i < x.size(); ++i) in[i] = x[i].data() + hop * engine.in_frames();
    for (std::size_t i = 0; i < y.size(); ++i) out[i] = y[i].data() + hop * engine.out_frames();
    engine.process(in.data(), out.data(), block);
    hop += block;
  }
  return y;
}

// The same through slices, cut by the slices' delay.
inline Audio run_sliced(Engine& engine, const Model& model, Method method, const Audio& x, int hops) {
  const MethodInfo& info = model.info().method(method);
  const int slices = engine.settings().slices, slice_samples = model.info().hop_samples / slices;
  const int in_share = takes_audio(method) ? engine.in_frames() / slices : 0;
  const int out_share = gives_audio(method) ? engine.out_frames() / slices : 1;
  const int late = engine.sliced_delay_samples() / slice_samples;
  Audio y(engine.settings().streams * info.out_channels);
  std::vector<std::vector<float>> share(y.size(), std::vector<float>(out_share));
  std::vector<const float*> in(x.size());
  std::vector<float*> out(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) out[i] = share[i].data();
  for (int slice = 0; slice < hops * slices; ++slice) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      in[i] = x[i].data() + (takes_audio(method) ? slice * in_share : slice / slices);
    }
    engine.begin(in.data());
    engine.advance();
    engine.end(out.data());
    const bool silent = slice < late;
    const bool fresh = gives_audio(method) || (slice - late) % slices == 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (silent) {
        CHECK(std::all_of(share[i].begin(), share[i].end(), [](float v) { return v == 0; }));
      } else if (fresh) {
        y[i].insert(y[i].end(), share[i].begin(), share[i].end());
      }
    }
  }
  return y;
}

inline Audio first_frames(Audio x, std::size_t frames) {
  for (auto& row : x) row.resize(std::min(row.size(), frames));
  return x;
}

}  // namespace ravel::test
