// A model: the file's graph, compiled, and the golden pair that proves it on this machine.
#include "ravel/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <new>

#include "engine/blueprint.h"
#include "model/file.h"
#include "model/graph.h"
#include "ravel/engine.h"
#include "script/script.h"

namespace ravel {

const char* name(Method method) noexcept {
  switch (method) {
    case Method::forward: return "forward";
    case Method::encode: return "encode";
    case Method::decode: return "decode";
    case Method::prior: return "prior";
  }
  return "?";
}

namespace {

// A zip archive, as TorchScript is; a `.ravel` begins with its length.
bool is_script(const std::byte* bytes, std::size_t size) {
  constexpr char kZip[] = {'P', 'K', 3, 4};
  return size >= sizeof kZip && std::memcmp(bytes, kZip, sizeof kZip) == 0;
}

}  // namespace

struct Model::Golden {
  graph::Golden pair;
};

Model::~Model() = default;

std::shared_ptr<const Model> Model::load(const std::string& path, Isa isa) {
  const FileBytes file = read_file(path);
  try {
    std::shared_ptr<Model> model = read(file.data.get(), file.size, isa);
    if (model->info_.name.empty()) {
      const std::u8string stem = std::filesystem::path(std::u8string(path.begin(), path.end())).stem().u8string();
      model->info_.name.assign(stem.begin(), stem.end());
    }
    return model;
  } catch (const Error& error) {
    throw Error(path + ": " + error.what());
  }
}

std::shared_ptr<const Model> Model::parse(const std::byte* bytes, std::size_t size, Isa isa) {
  return read(bytes, size, isa);
}

std::shared_ptr<Model> Model::read(const std::byte* bytes, std::size_t size, Isa isa) {
  std::shared_ptr<Model> model(new Model);
  model->isa_ = isa;
  if (is_script(bytes, size)) {
    model->script_ = script::load(bytes, size, model->info_);
    return model;
  }
  graph::Graph graph = graph::read(bytes, size);
  try {
    model->blueprint_ = engine::compile(graph, kernels::table(isa));
  } catch (const std::bad_alloc&) {
    throw Error("the model's weights do not fit into memory");
  }
  model->info_ = std::move(graph.info);
  model->golden_ = std::make_unique<Golden>(Golden{std::move(graph.golden)});
  return model;
}

std::size_t Model::weight_bytes() const noexcept {
  return script_ ? script::weight_bytes(*script_) : blueprint_->arena.bytes();
}

std::array<double, kEveryMethod.size()> Model::selftest() const {
  if (script_) throw Error(info_.name + ": TorchScript carries no recording to test it with");
  // an engine keeps its model alive, and this one outlives the test
  const std::shared_ptr<const Model> self(std::shared_ptr<const Model>(), this);
  const graph::Golden& golden = golden_->pair;
  const std::vector<float> rest(golden.prior.size());
  std::array<double, kEveryMethod.size()> errors{};
  for (const Method method : kEveryMethod) {
    const MethodInfo& info = info_.method(method);
    if (info.in_channels == 0) continue;
    const bool alone = method == Method::prior;
    const std::vector<float>& x = takes_audio(method) ? golden.audio : alone ? rest : golden.latents;
    const std::vector<float>& y = gives_audio(method) ? golden.output : alone ? golden.prior : golden.latents;
    Engine engine(self, method);
    engine.set_temperature(0);
    engine.set_prior_temperature(0);
    std::vector<float> result(y.size());
    const std::size_t out_frames = y.size() / info.out_channels;
    const std::size_t hops = out_frames / engine.out_frames(), in_frames = hops * engine.in_frames();
    std::vector<const float*> in(info.in_channels);
    std::vector<float*> out(info.out_channels);
    for (std::size_t hop = 0; hop < hops; ++hop) {
      for (int c = 0; c < info.in_channels; ++c) in[c] = x.data() + c * in_frames + hop * engine.in_frames();
      for (int c = 0; c < info.out_channels; ++c) out[c] = result.data() + c * out_frames + hop * engine.out_frames();
      engine.process(in.data(), out.data(), 1);
    }
    double worst = 0, peak = 1e-9;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double error = std::abs(double(result[i]) - y[i]);
      worst = error <= worst ? worst : error;  // keeps a NaN
      peak = std::max(peak, std::abs(double(y[i])));
    }
    errors[static_cast<std::size_t>(method)] = worst / peak;
  }
  return errors;
}

}  // namespace ravel
