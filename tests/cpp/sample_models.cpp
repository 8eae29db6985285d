// Builds sample `.ravel` files: graph and card as JSON, weights from a fixed random sequence.
#include "sample_models.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "model/graph.h"
#include "reference.h"

namespace ravel::test {
namespace {

using nlohmann::json;

std::uint16_t to_bf16(float value) {  // to nearest even
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float rounded_to_bf16(float value) { return std::bit_cast<float>(std::uint32_t{to_bf16(value)} << 16); }

struct ConvShape {
  int kernel = 1, stride = 1, dilation = 1, groups = 1, hold = 0;
  bool bias = false;
};

// Nodes as JSON; their tensors are appended to the file.
class Builder {
 public:
  explicit Builder(std::uint32_t seed) : random_(seed) {}

  SampleFile file;
  bool bf16 = false;   // for the weights made from now on
  bool snake = false;  // what `activation` gives

  json conv(const std::string& name, int in, int out, const ConvShape& c) {
    json node = base("conv1d", name, in, out);
    node.update(
        {{"kernel", c.kernel}, {"stride", c.stride}, {"dilation", c.dilation}, {"groups", c.groups}, {"hold", c.hold}});
    add_weight(node, {out, c.kernel, in / c.groups}, c.bias);
    return node;
  }
  json upsample(const std::string& name, int in, int out, int ratio, int taps, bool bias = false) {
    json node = base("upsample", name, in, out);
    node.update({{"ratio", ratio}, {"taps", taps}});
    add_weight(node, {ratio * out, taps, in}, bias);
    return node;
  }
  json delay(const std::string& name, int channels, int frames) {
    json node = base("delay", name, channels, channels);
    node["frames"] = frames;
    return node;
  }
  json activation(const std::string& name, int channels) {
    return snake ? snakes(name, channels) : leaky(name, channels);
  }
  json leaky(const std::string& name, int channels) {
    json node = base("leaky_relu", name, channels, channels);
    node["slope"] = 0.2;
    return node;
  }
  json snakes(const std::string& name, int channels) {
    json node = base("snake", name, channels, channels);
    node["alpha"] = add(name + ".alpha", {channels}, draw(channels, 0.5F, 1.0F));
    return node;
  }
  json plain(const char* op, const std::string& name, int in, int out) { return base(op, name, in, out); }
  json amplitude(const std::string& name, int channels, double offset) {
    json node = base("amplitude", name, channels, channels);
    node["offset"] = offset;
    return node;
  }
  json repeat(const std::string& name, int channels, int times) {
    json node = base("repeat", name, channels, channels * times);
    node["times"] = times;
    return node;
  }
  json filtered_noise(const std::string& name, int bands, int noise_bands, int ratio, int id) {
    json node = base("filtered_noise", name, bands * noise_bands, bands);
    const int taps = 2 * (noise_bands - 1);
    node.update({{"bands", bands}, {"noise_bands", noise_bands}, {"ratio", ratio}, {"node", id}});
    node["response"] = add(name + ".response", {noise_bands, taps}, draw(noise_bands * taps, 0.3F));
    return node;
  }
  json variational(int size, int kept, int id) {
    json node = base("variational", "latent", 2 * size, kept);
    node.update({{"size", size}, {"kept", kept}, {"node", id}});
    node["rotation"] = add("latent.rotation", {size, size}, draw(size * size, 1 / std::sqrt(static_cast<float>(size))));
    return node;
  }
  json fill(int kept, int size, int id) {
    json node = base("fill", "completion", kept, size);
    node.update({{"kept", kept}, {"size", size}, {"node", id}});
    return node;
  }
  json quantise(const std::string& name, int size, int quantisers, int codes) {
    json node = base("quantise", name, size, quantisers);
    return with_codes(std::move(node), size, quantisers, codes);
  }
  json codebook(const std::string& name, int size, int quantisers, int codes) {
    json node = base("codebook", name, quantisers, size);
    node["offset"] = add(name + ".offset", {size}, draw(size, 0.3F));
    return with_codes(std::move(node), size, quantisers, codes);
  }
  json part(const std::string& name, int in, int first, int count) {
    json node = base("part", name, in, count);
    node["first"] = first;
    return node;
  }
  json condition(const std::string& name, int width, int labels) {
    json node = base("condition", name, width, width);
    node["labels"] = labels;
    node["table"] = add(name + ".table", {labels, width}, draw(labels * width, 0.5F));
    return node;
  }
  json serial(const std::string& name, const std::vector<json>& layers) {
    json node = base("serial", name, layers.front()["in"], layers.back()["out"]);
    node["layers"] = layers;
    return node;
  }
  json combine(const char* op, const std::string& name, const std::vector<json>& branches,
               const std::vector<int>& waits) {
    json node = base(op, name, branches.front()["in"], branches.front()["out"]);
    node["branches"] = branches;
    node["waits"] = waits;
    return node;
  }
  // x, frames + wait later, + body(x)
  json residual(const std::string& name, int frames, int wait, const json& body) {
    return combine("sum", name, {delay(name + ".skip", body["in"], frames), body}, {wait, 0});
  }

  std::string add(const std::string& name, const std::vector<std::int64_t>& shape, const std::vector<float>& values,
                  bool as_bf16 = false) {
    SampleTensor tensor{name, shape, values, as_bf16};
    if (as_bf16) std::transform(values.begin(), values.end(), tensor.values.begin(), rounded_to_bf16);
    file.tensors.push_back(tensor);
    return name;
  }

  std::vector<float> draw(int count, float bound, float middle = 0) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = middle + bound * (static_cast<float>(random_() >> 8) * 0x1p-23F - 1);
    return values;
  }

 private:
  static json base(const char* op, const std::string& name, int in, int out) {
    return {{"op", op}, {"name", name}, {"in", in}, {"out", out}};
  }

  json with_codes(json node, int size, int quantisers, int codes) {
    const std::string name = node["name"];
    node.update({{"quantisers", quantisers}, {"codes", codes}});
    node["codebook"] = add(name + ".codebook", {quantisers, codes, size}, draw(quantisers * codes * size, 0.5F));
    return node;
  }

  void add_weight(json& node, const std::vector<std::int64_t>& shape, bool bias) {
    const std::string name = node["name"];
    const auto fan_in = static_cast<float>(shape[1] * shape[2]);
    const int count = static_cast<int>(shape[0] * shape[1] * shape[2]);
    node["weight"] = add(name + ".weight", shape, draw(count, 1.5F / std::sqrt(fan_in)), bf16);
    node["bias"] = nullptr;
    if (bias) node["bias"] = add(name + ".bias", {shape[0]}, draw(static_cast<int>(shape[0]), 0.1F));
  }

  std::mt19937 random_;
};

struct Shape {
  int channels, hop, latents, latent_size;
  int quantisers = 0, codes = 0, labels = 0, prior = 0;

  int played() const { return quantisers > 0 ? quantisers : latents; }  // channels of `encode`
};

void describe(SampleFile& file, const json& graph, const Shape& shape, bool bf16) {
  const auto method = [](int in, int in_ratio, int out, int out_ratio, int delay) {
    return json{{"in_channels", in},
                {"in_ratio", in_ratio},
                {"out_channels", out},
                {"out_ratio", out_ratio},
                {"delay_samples", delay}};
  };
  json curve = json::array();
  for (int i = 1; i <= shape.latent_size; ++i) curve.push_back(static_cast<double>(i) / shape.latent_size);
  json card = {
      {"name", "sample"},
      {"preset", "low"},
      {"sample_rate_hz", 44100},
      {"channels", shape.channels},
      {"hop_samples", shape.hop},
      {"latents", shape.latents},
      {"latent_size", shape.latent_size},
      {"methods",
       {{"forward", method(shape.channels, 1, shape.channels, 1, shape.hop + 3)},
        {"encode", method(shape.channels, 1, shape.played(), shape.hop, shape.hop)},
        {"decode", method(shape.played(), shape.hop, shape.channels, 1, 3)}}},
      {"attributes", {{"temperature", {{"type", "float"}, {"default", 0.0}, {"doc", ""}}}}},
      {"fidelity_curve", curve},
      {"weights", bf16 ? "bf16" : "fp32"},
  };
  if (shape.quantisers > 0) {
    card["codes"] = {{"kind", "rvq"}, {"quantisers", shape.quantisers}, {"codes", shape.codes}};
    card["attributes"].erase("temperature");
  }
  if (shape.prior > 0) {
    card["methods"]["prior"] = method(1, shape.hop, shape.played(), shape.hop, (shape.prior - 1) * shape.hop);
  }
  for (int i = 0; i < shape.labels; ++i) card["labels"].push_back("label " + std::to_string(i));
  const char* version = shape.prior > 0 ? "3" : shape.labels > 0 || shape.quantisers > 0 ? "2" : "1";
  file.metadata = {{"format", "ravel"}, {"version", version}, {"graph", graph.dump()}, {"card", card.dump()}};
}

void add_golden(Builder& build, const Shape& shape, int hops) {
  const int frames = hops * shape.hop;
  build.add("golden.audio", {shape.channels, frames}, build.draw(shape.channels * frames, 0.5F));
  build.add("golden.latents", {shape.played(), hops}, std::vector<float>(shape.played() * hops));
  build.add("golden.output", {shape.channels, frames}, std::vector<float>(shape.channels * frames));
  if (shape.prior > 0) build.add("golden.prior", {shape.played(), hops}, std::vector<float>(shape.played() * hops));
}

// Latents and output of the golden audio, as the plain reference has them.
void fill_golden(SampleFile& file, int channels) {
  const std::vector<std::byte> bytes = file.bytes();
  const graph::Graph graph = graph::read(bytes.data(), bytes.size());
  const Signal latents = reference(graph.latent, reference(graph.front, signal(graph.golden.audio, channels)));
  file.tensor("golden.latents").values = flat(latents);
  file.tensor("golden.output").values = flat(reference(graph.back, reference(graph.completion, latents)));
  if (!graph.prior) return;
  Signal played = alone(*graph.prior, {}, graph.golden.hops, 1, 0);
  played.resize(static_cast<std::size_t>((graph.prior->speak ? *graph.prior->speak : graph.completion).in_channels));
  if (graph.prior->speak) played = reference(*graph.prior->speak, played);
  file.tensor("golden.prior").values = flat(played);
}

// Vectors along one axis each, so that a residual quantiser measures every latent by itself.
void along_axes(SampleTensor& codebook) {
  const auto codes = codebook.shape[1], size = codebook.shape[2];
  for (std::size_t at = 0; at < codebook.values.size(); ++at) {
    const auto quantiser = static_cast<std::int64_t>(at) / (codes * size), axis = static_cast<std::int64_t>(at) % size;
    if (quantiser % size != axis) codebook.values[at] = 0;
  }
}

// A small one of the kind that is trained: an embedding, gated units, features by the skip path, narrow outputs.
json prior(Builder& build, const SampleOptions& o, int latents) {
  const int channels = 6, skip = 4, wide = channels + skip, rank = 2, count = o.prior;
  const std::string at = "prior.network.";
  std::vector<json> layers{build.codebook(at + "0", channels, count, o.codes),
                           build.conv(at + "1", channels, wide, {.bias = true})};
  for (const int dilation : {1, 2, 4}) {
    const std::string unit = at + std::to_string(layers.size());
    const json body = build.serial(unit + ".body", {build.part(unit + ".part", wide, 0, channels),
                                                    build.conv(unit + ".dilated", channels, 2 * channels,
                                                               {.kernel = 2, .dilation = dilation, .bias = true}),
                                                    build.plain("gated_tanh", unit + ".gate", 2 * channels, channels),
                                                    build.conv(unit + ".mixing", channels, wide, {.bias = true})});
    layers.push_back(build.combine("sum", unit, {build.delay(unit + ".skip", wide, 0), body}, {0, 0}));
  }
  layers.push_back(build.part(at + "part", wide, channels, skip));
  layers.push_back(build.leaky(at + "act", skip));
  layers.push_back(build.conv(at + "narrow", skip, count * rank, {}));
  layers.push_back(build.conv(at + "last", count * rank, count * o.codes, {.groups = count, .bias = true}));
  for (float& w : build.file.tensor(at + "last.weight").values) w *= 8;  // far from every code being as likely
  json node = build.plain("prior", "prior", 1, count);
  node.update({{"quantisers", count},
               {"codes", o.codes},
               {"noise_node", 4096},
               {"network", build.serial("prior.network", layers)}});
  node["listen"] = node["speak"] = nullptr;
  if (o.quantisers > 0) return node;
  const int there = std::min(count, latents);
  node["listen"] = build.quantise("prior.listen", latents, there, o.codes);
  node["speak"] = build.codebook("prior.speak", latents, there, o.codes);
  along_axes(build.file.tensor("prior.listen.codebook"));
  build.file.tensor("prior.speak.codebook").values = build.file.tensor("prior.listen.codebook").values;
  return node;
}

json encoder(Builder& build, const SampleOptions& o) {
  std::vector<json> layers{build.conv("encoder.0", o.channels * o.bands, o.width, {.kernel = 7})};
  int width = o.width;
  for (std::size_t i = 0; i < o.strides.size(); ++i) {
    const std::string at = "encoder." + std::to_string(i + 1);
    const int stride = o.strides[i];
    layers.push_back(build.residual(
        at + ".unit", 0, 1,
        build.serial(at + ".body",
                     {build.activation(at + ".act0", width),
                      build.conv(at + ".dilated", width, width, {.kernel = 3, .dilation = 3}),
                      build.activation(at + ".act1", width), build.conv(at + ".point", width, width, {})})));
    layers.push_back(i == 0 ? build.snakes(at + ".act", width) : build.activation(at + ".act", width));
    const ConvShape down{
        .kernel = std::max(2 * stride, 3), .stride = stride, .hold = i == 0 ? stride - 1 : 0, .bias = i > 0};
    layers.push_back(build.conv(at + ".down", width, 2 * width, down));
    width *= 2;
  }
  layers.push_back(build.activation("encoder.act", width));
  const int heads = o.quantisers > 0 ? 1 : 2;
  layers.push_back(
      build.conv("encoder.out", width, heads * o.latent_size, {.kernel = 3, .groups = heads, .bias = true}));
  return build.serial("encoder", layers);
}

// Three branches with different waits: loudness times waveform (v1), gated waveform (v2), filtered noise.
json head(Builder& build, const SampleOptions& o) {
  const int bands = o.channels * o.bands, width = o.width;
  const json waveform = build.serial("decoder.wave", {build.conv("decoder.wave.0", width, bands, {.kernel = 7}),
                                                      build.plain("tanh", "decoder.wave.1", bands, bands)});
  const json loudness =
      build.serial("decoder.loudness", {build.conv("decoder.loudness.0", width, o.channels, {.kernel = 3}),
                                        build.amplitude("decoder.loudness.1", o.channels, 0.0),
                                        build.repeat("decoder.loudness.2", o.channels, o.bands)});
  const json gated =
      build.serial("decoder.gated", {build.activation("decoder.gated.0", width),
                                     build.conv("decoder.gated.1", width, 2 * bands, {.kernel = 5, .bias = true}),
                                     build.plain("gated_half", "decoder.gated.2", 2 * bands, bands)});
  std::vector<json> branches{build.combine("product", "decoder.product", {waveform, loudness}, {0, 2}), gated};
  std::vector<int> waits{3, 0};
  if (o.noise) {
    const int magnitudes = bands * o.noise_bands;
    branches.push_back(build.serial("decoder.noise",
                                    {build.conv("decoder.noise.0", width, width, {.kernel = 3, .stride = 2, .hold = 1}),
                                     build.activation("decoder.noise.1", width),
                                     build.conv("decoder.noise.2", width, magnitudes, {.kernel = 3, .stride = 2}),
                                     build.amplitude("decoder.noise.3", magnitudes, -1.0),
                                     build.filtered_noise("decoder.noise.4", bands, o.noise_bands, 4, 2)}));
    waits.push_back(1);
  }
  return build.combine("sum", "decoder.head", branches, waits);
}

json decoder(Builder& build, const SampleOptions& o) {
  int width = o.width << o.strides.size();
  std::vector<json> layers{build.conv("decoder.0", o.latent_size, width, {.kernel = 3, .bias = true})};
  if (o.labels > 0) layers.push_back(build.condition("decoder.condition", width, o.labels));
  for (std::size_t i = o.strides.size(); i-- > 0;) {
    const std::string at = "decoder." + std::to_string(o.strides.size() - i);
    layers.push_back(build.activation(at + ".act", width));
    layers.push_back(build.upsample(at + ".up", width, width / 2, o.strides[i], 2, i == 0));
    width /= 2;
    layers.push_back(build.residual(
        at + ".unit", 2, 0,
        build.serial(at + ".body", {build.activation(at + ".act0", width),
                                    build.conv(at + ".dilated", width, width, {.kernel = 3, .dilation = 9}),
                                    build.activation(at + ".act1", width),
                                    build.conv(at + ".second", width, width, {.kernel = 3})})));
  }
  layers.push_back(head(build, o));
  layers.push_back(build.plain("tanh", "decoder.tanh", o.channels * o.bands, o.channels * o.bands));
  return build.serial("decoder", layers);
}

void put(std::vector<std::byte>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

}  // namespace

SampleTensor& SampleFile::tensor(const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  if (found == tensors.end()) throw std::out_of_range("sample: no tensor " + name);
  return *found;
}

std::string SampleFile::header() const {
  json header;
  header["__metadata__"] = metadata;
  std::size_t at = 0;
  for (const SampleTensor& t : tensors) {
    const std::size_t end = at + t.values.size() * (t.bf16 ? 2 : 4);
    header[t.name] = {{"dtype", t.bf16 ? "BF16" : "F32"}, {"shape", t.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  return header.dump();
}

std::vector<std::byte> SampleFile::data() const {
  std::vector<std::byte> out;
  for (const SampleTensor& t : tensors) {
    for (const float v : t.values) {
      if (t.bf16)
        put(out, to_bf16(v), 2);
      else
        put(out, std::bit_cast<std::uint32_t>(v), 4);
    }
  }
  return out;
}

std::vector<std::byte> SampleFile::bytes() const { return assembled(header(), data()); }

std::vector<std::byte> assembled(const std::string& header, const std::vector<std::byte>& data) {
  std::vector<std::byte> out;
  put(out, header.size(), 8);
  const auto* text = reinterpret_cast<const std::byte*>(header.data());
  out.insert(out.end(), text, text + header.size());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

SampleFile every_op(const SampleOptions& o) {
  Builder build(o.seed);
  const int bands = o.channels * o.bands;
  int hop = o.bands;
  for (const int stride : o.strides) hop *= stride;
  const json analysis =
      build.conv("analysis", o.channels, bands, {.kernel = 2 * o.bands + 3, .stride = o.bands, .groups = o.channels});
  const json synthesis = build.upsample("synthesis", bands, o.channels, o.bands, 3);
  build.bf16 = o.bf16;
  build.snake = o.snake;
  std::vector<json> layers{analysis, encoder(build, o)};
  if (o.sphere) layers.push_back(build.plain("sphere", "sphere", layers.back()["out"], layers.back()["out"]));
  const json front = build.serial("front", layers);
  const json back = build.serial("back", {decoder(build, o), synthesis});
  const bool discrete = o.quantisers > 0;
  const json latent = discrete ? build.quantise("latent", o.latent_size, o.quantisers, o.codes)
                               : build.variational(o.latent_size, o.kept, 1);
  const json completion = discrete ? build.codebook("completion", o.latent_size, o.quantisers, o.codes)
                                   : build.fill(o.kept, o.latent_size, 0);
  json graph = {{"front", front}, {"latent", latent}, {"completion", completion}, {"back", back}};
  if (o.prior > 0) graph["prior"] = prior(build, o, o.kept);
  const Shape shape{o.channels,    hop,          discrete ? o.latent_size : o.kept,
                    o.latent_size, o.quantisers, discrete ? o.codes : 0,
                    o.labels,      o.prior};
  describe(build.file, graph, shape, o.bf16);
  add_golden(build, shape, 12);
  fill_golden(build.file, o.channels);
  return build.file;
}

SampleFile minimal(int hop, std::uint32_t seed) {
  Builder build(seed);
  const json graph = {{"front", build.conv("front", 1, 2, {.kernel = hop, .stride = hop})},
                      {"latent", build.variational(1, 1, 1)},
                      {"completion", build.fill(1, 1, 0)},
                      {"back", build.upsample("back", 1, 1, hop, 1)}};
  const Shape shape{1, hop, 1, 1};
  describe(build.file, graph, shape, false);
  add_golden(build, shape, 4);
  fill_golden(build.file, 1);
  return build.file;
}

SampleFile echo(const EchoOptions& o) {
  Builder build(1);
  const int size = o.hop * o.channels;
  const json gather = build.conv("front.0", o.channels, 2 * size, {.kernel = o.hop, .stride = o.hop});
  const json scatter = build.upsample("back.0", size, o.channels, o.hop, 1);
  // latent t * channels + c is sample t of channel c
  auto& in = build.file.tensor("front.0.weight").values;  // (2 * size, hop, channels)
  auto& out = build.file.tensor("back.0.weight").values;  // (hop * channels, 1, size)
  std::fill(in.begin(), in.end(), 0.0F);
  std::fill(out.begin(), out.end(), 0.0F);
  for (int i = 0; i < size; ++i) {
    in[static_cast<std::size_t>(i) * size + i] = o.gain;
    out[static_cast<std::size_t>(i) * size + i] = 1.0F;
  }
  std::vector<json> layers{scatter, build.delay("back.1", o.channels, o.delay_samples)};
  if (o.labels > 0) {
    layers.insert(layers.begin(), build.condition("back.condition", size, o.labels));
    auto& table = build.file.tensor("back.condition.table").values;
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i / static_cast<std::size_t>(size));
  }
  const json graph = {{"front", build.serial("front", {gather, build.delay("front.1", 2 * size, o.delay_frames)})},
                      {"latent", build.variational(size, size, 1)},
                      {"completion", build.fill(size, size, 0)},
                      {"back", build.serial("back", layers)}};
  describe(build.file, graph, {o.channels, o.hop, size, size, 0, 0, o.labels}, false);
  json card = json::parse(build.file.metadata["card"]);
  card["sample_rate_hz"] = o.sample_rate_hz;
  card["methods"]["encode"]["delay_samples"] = o.delay_frames * o.hop;
  card["methods"]["decode"]["delay_samples"] = o.delay_samples;
  card["methods"]["forward"]["delay_samples"] = o.delay_frames * o.hop + o.delay_samples;
  build.file.metadata["card"] = card.dump();
  add_golden(build, {o.channels, o.hop, size, size}, 4);
  return build.file;  // its golden pair is not used
}

}  // namespace ravel::test
