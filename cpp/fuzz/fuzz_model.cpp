// Fuzz target: any bytes are refused with an Error, or are a model whose methods run.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "ravel/engine.h"
#include "ravel/model.h"

namespace {

using ravel::Engine;
using ravel::Method;
using ravel::MethodInfo;
using ravel::Model;

constexpr double kMaxFlops = 2e7;  // a hop: keeps an input under 0.1 s with sanitizers
constexpr std::size_t kMaxStateBytes = std::size_t{16} << 20;

struct Block {
  Block(int channels, int frames, float value)
      : values(static_cast<std::size_t>(channels) * static_cast<std::size_t>(frames), value) {
    for (int c = 0; c < channels; ++c) rows.push_back(values.data() + static_cast<std::ptrdiff_t>(c) * frames);
  }
  std::vector<float> values;
  std::vector<float*> rows;
};

// Two hops whole, two in slices where the hop has that many, with everything that is random switched on.
void run(const std::shared_ptr<const Model>& model, Method method) {
  Engine engine(model, method);
  double flops = 0;
  for (const auto& op : engine.ops()) flops += op.flops;
  if (flops > kMaxFlops || engine.history_bytes() > kMaxStateBytes) return;
  const MethodInfo& info = model->info().method(method);
  Block in(info.in_channels, engine.in_frames(), 0.5F), out(info.out_channels, engine.out_frames(), 0.0F);
  engine.set_temperature(1);
  engine.set_fill(1);
  engine.set_prior(0.5F);
  for (int hop = 0; hop < 2; ++hop) engine.process(in.rows.data(), out.rows.data(), 1);
  const int slices = model->info().hop_samples % 4 == 0 ? 4 : 1;
  engine.prepare({.slices = slices, .core_slices = slices});
  for (int slice = 0; slice < 2 * slices; ++slice) {
    engine.begin(in.rows.data());
    engine.advance();
    engine.end(out.rows.data());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::shared_ptr<const Model> model;
  try {
    model = Model::parse(reinterpret_cast<const std::byte*>(data), size);
    for (const Method method : ravel::kEveryMethod) {
      if (model->info().method(method).in_channels > 0) run(model, method);
    }
  } catch (const ravel::Error&) {
    return 0;
  }
  return 0;
}
