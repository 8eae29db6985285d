// Files that are sound are read as they are; every other one is refused in words, whatever is in it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "model/file.h"
#include "model/graph.h"
#include "ravel/engine.h"
#include "sample_models.h"

using namespace ravel;
using nlohmann::json;
using test::SampleFile;
using Bytes = std::vector<std::byte>;

namespace {

// What is wrong with a file, empty for a sound one. Any exception but Error ends the test.
std::string complaint(const Bytes& bytes) {
  try {
    graph::read(bytes.data(), bytes.size());
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

Bytes bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

const SampleFile& sample() {
  static const SampleFile file = test::every_op();
  return file;
}

json* find(json& node, const std::string& name) {
  if (node.is_object() && node.contains("name") && node["name"] == name) return &node;
  if (!node.is_structured()) return nullptr;
  for (json& child : node) {
    if (json* found = find(child, name)) return found;
  }
  return nullptr;
}

// The sample whose graph or card `change` has changed.
SampleFile with_graph(const std::function<void(json&)>& change) {
  SampleFile file = sample();
  json graph = json::parse(file.metadata["graph"]);
  change(graph);
  file.metadata["graph"] = graph.dump();
  return file;
}
SampleFile with_node(const std::string& name, const std::function<void(json&)>& change) {
  return with_graph([&](json& graph) {
    json* node = find(graph, name);
    REQUIRE(node != nullptr);
    change(*node);
  });
}
SampleFile with_card(const std::function<void(json&)>& change) {
  SampleFile file = sample();
  json card = json::parse(file.metadata["card"]);
  change(card);
  file.metadata["card"] = card.dump();
  return file;
}
std::string node_complaint(const std::string& name, const std::function<void(json&)>& change) {
  return complaint(with_node(name, change).bytes());
}
std::string field_complaint(const std::string& name, const char* key, const json& value) {
  return node_complaint(name, [&](json& node) { node[key] = value; });
}
std::string graph_complaint(const std::function<void(json&)>& change) { return complaint(with_graph(change).bytes()); }
std::string card_complaint(const std::function<void(json&)>& change) { return complaint(with_card(change).bytes()); }
std::string file_complaint(const std::function<void(SampleFile&)>& change) {
  SampleFile file = sample();
  change(file);
  return complaint(file.bytes());
}

// The sample whose header `change` has changed, over the same data.
std::string header_complaint(const std::function<void(json&)>& change) {
  const SampleFile& file = sample();
  json header = json::parse(file.header());
  change(header);
  return complaint(test::assembled(header.dump(), file.data()));
}

const graph::Node& layer(const graph::Node& node, std::size_t i) {
  return std::get<graph::Serial>(node.op).layers.at(i);
}

}  // namespace

TEST_CASE("a sound file is read as it was written") {
  SampleFile file = test::every_op({.channels = 2, .bf16 = true});
  const Bytes bytes = file.bytes();
  const graph::Graph graph = graph::read(bytes.data(), bytes.size());
  CHECK(graph.info.name == "sample");
  CHECK(graph.info.channels == 2);
  CHECK(graph.info.hop_samples == 16);
  CHECK(graph.info.latents == 4);
  CHECK(graph.info.latent_size == 6);
  CHECK(graph.info.bf16_weights);
  CHECK(graph.info.fidelity_curve.size() == 6);
  CHECK(graph.info.method(Method::encode).out_ratio == 16);
  CHECK(graph.info.method(Method::forward).delay_samples == 19);
  CHECK(json::parse(graph.info.card) == json::parse(file.metadata["card"]));
  CHECK(graph.front.down == 16);
  CHECK(graph.front.up == 1);
  CHECK(graph.back.down == 1);
  CHECK(graph.back.up == 16);
  CHECK(graph.golden.hops == 12);
  CHECK(graph.golden.audio == file.tensor("golden.audio").values);

  const auto& analysis = std::get<graph::Conv1d>(layer(graph.front, 0).op);
  CHECK(analysis.kernel == 11);
  CHECK(analysis.stride == 4);
  CHECK(analysis.groups == 2);
  CHECK(analysis.history() == 7);
  CHECK(analysis.bias.empty());
  CHECK(analysis.weight.type == graph::Tensor::Type::f32);
  CHECK(analysis.weight.values() == file.tensor("analysis.weight").values);
  const graph::Node& first = layer(layer(graph.front, 1), 0);
  CHECK(first.name == "encoder.0");
  CHECK(std::get<graph::Conv1d>(first.op).weight.type == graph::Tensor::Type::bf16);
  CHECK(std::get<graph::Conv1d>(first.op).weight.values() == file.tensor("encoder.0.weight").values);
  CHECK(std::get<graph::Variational>(graph.latent.op).rotation == file.tensor("latent.rotation").values);
}

TEST_CASE("all samples are sound") {
  for (const int channels : {1, 2}) {
    for (const bool on : {false, true}) {
      CHECK(complaint(test::every_op({.channels = channels, .bf16 = on, .snake = on, .noise = !on}).bytes()) == "");
    }
  }
  for (const int labels : {2, 256}) CHECK(complaint(test::every_op({.labels = labels}).bytes()) == "");
  for (const int quantisers : {1, 4}) CHECK(complaint(test::every_op({.quantisers = quantisers}).bytes()) == "");
  CHECK(complaint(test::every_op({.sphere = true}).bytes()) == "");
  CHECK(complaint(test::every_op({.width = 8, .strides = {4, 2, 1}, .latent_size = 1, .kept = 1}).bytes()) == "");
  for (const int hop : {1, 7, 128}) CHECK(complaint(test::minimal(hop).bytes()) == "");
}

TEST_CASE("other files are called by their name") {
  const std::string filling(100, 'x');
  CHECK(complaint({}) == "the file is empty");
  CHECK(complaint(bytes_of("hello")) == "the file has 5 bytes, too few for a model");
  CHECK(complaint(bytes_of("PK\x03\x04" + filling)) ==
        "this is a TorchScript export or another zip archive; give the .ravel beside it");
  CHECK(complaint(bytes_of("\xff\xd8\xff\xe0" + filling)) == "this is a JPEG picture, not a model");
  CHECK(complaint(bytes_of("RIFF" + filling)) == "this is a WAV recording, not a model");
  CHECK(complaint(bytes_of(filling)) == "this is not a .ravel file: no header where one should start");
  CHECK(complaint(Bytes(1000)) == "this is not a .ravel file: no header where one should start");
}

TEST_CASE("a header that starts like another file is still a header") {
  SampleFile file = test::minimal();
  std::string header = file.header();
  header.resize(0x8b1f, ' ');  // the length's first bytes are those of gzip
  CHECK(complaint(test::assembled(header, file.data())) == "");
}

TEST_CASE("the header's length is not believed") {
  const SampleFile file = test::minimal();
  Bytes bytes = file.bytes();
  const auto length = [&](std::uint64_t value) {
    Bytes changed = bytes;
    std::memcpy(changed.data(), &value, sizeof value);
    return complaint(changed);
  };
  CHECK(length(10'000'000'000) == "the header claims 10000000000 bytes, more than the 4194304 that one may have");
  CHECK(length(~std::uint64_t{0}).find("claims 18446744073709551615 bytes") != std::string::npos);
  CHECK(length(100'000).find("after its length: truncated?") != std::string::npos);
  CHECK(length(0) == "header: not JSON from byte 1 on");
  CHECK(length(file.header().size() - 1).find("header: not JSON from byte") == 0);
  std::reverse(bytes.begin(), bytes.begin() + 8);
  CHECK(complaint(bytes) == "the header's length is big-endian, a .ravel file is little-endian");
}

TEST_CASE("the header must be one JSON object, and not deep, large or ambiguous") {
  const auto header = [](const std::string& text) { return complaint(test::assembled(text, {})); };
  CHECK(header("{}x") == "header: not JSON from byte 3 on");
  CHECK(header("{\"a\":") == "header: not JSON from byte 6 on");
  CHECK(header("{\"\xff\":1}").find("header: not JSON") == 0);
  CHECK(header("{\"a\":1e999}").find("header: not JSON") == 0);
  CHECK(header("{\"a\":" + std::string(100000, '[')) == "header: nested deeper than 64");
  CHECK(header("{\"a\":1,\"b\":2,\"a\":3}") == "header: the key 'a' stands twice in one object");
  std::string many = "{\"a\":[0";
  for (int i = 0; i < 200000; ++i) many += ",0";
  CHECK(header(many + "]}") == "header: more than 200000 values");
}

TEST_CASE("a safetensors file of someone else") {
  CHECK(header_complaint([](json& h) { h.erase("__metadata__"); }) ==
        "this is a safetensors file without 'format', not a model of Ravel");
  CHECK(file_complaint([](SampleFile& f) { f.metadata["format"] = "pt"; }) ==
        "this is a safetensors file of format 'pt', not a model of Ravel");
  CHECK(file_complaint([](SampleFile& f) { f.metadata["version"] = std::to_string(4); }) ==
        "format version 4: this build reads 1 to 3; update Ravel");
  CHECK(file_complaint([](SampleFile& f) { f.metadata["version"] = "1\n\x01"; }) ==
        "format version 1??: this build reads 1 to 3; update Ravel");
  CHECK(file_complaint([](SampleFile& f) { f.metadata.erase("graph"); }) ==
        "this is a safetensors file without 'graph', not a model of Ravel");
  CHECK(header_complaint([](json& h) { h["__metadata__"]["note"] = 1; }) == "__metadata__: 'note' is not a string");
  CHECK(header_complaint([](json& h) { h["__metadata__"] = 1; }) == "__metadata__: expects an object of strings");
}

TEST_CASE("tensors lie in the data as the header says") {
  const auto tensor = [](const char* key, const json& value) {
    return header_complaint([&](json& h) { h["analysis.weight"][key] = value; });
  };
  const json header = json::parse(sample().header());
  const json begin = header["analysis.weight"]["data_offsets"][0], end = header["analysis.weight"]["data_offsets"][1];
  const int first = begin, last = end;
  REQUIRE(first == 0);
  REQUIRE(last == 4 * 11 * 4);
  CHECK(tensor("dtype", "F64") == "tensor analysis.weight: dtype F64, expects F32 or BF16");
  CHECK(tensor("dtype", 5) == "tensor analysis.weight: no dtype");
  CHECK(tensor("dtype", "BF16") == "tensor analysis.weight: has 176 bytes, its shape needs 88");
  CHECK(tensor("shape", {4, 11, 2}) == "tensor analysis.weight: has 176 bytes, its shape needs 352");
  CHECK(tensor("shape", {4, 0, 1}) == "tensor analysis.weight: has no values");
  CHECK(tensor("shape", {4, -1, 1}) == "tensor analysis.weight: shape: expects whole numbers from 0 on");
  CHECK(tensor("shape", {4, 11.0, 1}) == "tensor analysis.weight: shape: expects whole numbers from 0 on");
  CHECK(tensor("shape", {1LL << 40, 1LL << 40, 1LL << 40}) == "tensor analysis.weight: its shape overflows");
  CHECK(tensor("shape", {1LL << 62, 2}) == "tensor analysis.weight: its shape overflows");
  CHECK(tensor("shape", json::array({1, 1, 1, 1, 1, 1, 1, 1, 1})) ==
        "tensor analysis.weight: expects a shape of at most 8 dimensions");
  CHECK(tensor("shape", {4, 1, 11}) == "analysis: tensor analysis.weight has shape (4, 1, 11), expects (4, 11, 1)");
  CHECK(tensor("data_offsets", {0, 1LL << 40}).find("analysis.weight: ends at byte 1099511627776 of the data") !=
        std::string::npos);
  CHECK(tensor("data_offsets", {last, 0}) == "tensor analysis.weight: data_offsets run backwards");
  CHECK(tensor("data_offsets", {0}) == "tensor analysis.weight: expects two data_offsets");
  CHECK(tensor("data_offsets", {4, 180}) == "tensor analysis.weight: leaves a gap of 4 bytes before it");
  CHECK(tensor("extra", 1) == "tensor analysis.weight: expects dtype, shape and data_offsets");
  CHECK(header_complaint([](json& h) {
          h["synthesis.weight"]["data_offsets"] = {0, 192};
        }).find("overlaps the one before it") != std::string::npos);

  const SampleFile& file = sample();
  Bytes bytes = file.bytes();
  bytes.pop_back();
  CHECK(complaint(bytes).find("tensor golden.output: ends at byte") == 0);
  bytes.resize(bytes.size() + 4);
  CHECK(complaint(bytes) == "the file has 3 bytes after its last tensor");
}

TEST_CASE("every tensor is there, once, with the right shape, type and values") {
  CHECK(file_complaint([](SampleFile& f) { f.tensor("encoder.0.weight").name = "other"; }) ==
        "encoder.0: tensor encoder.0.weight is not in the file");
  CHECK(file_complaint([](SampleFile& f) {
          f.tensors.push_back({"spare", {1}, {0.0F}});
        }) == "extra tensor spare: no node names it");
  CHECK(field_complaint("decoder.1.body", "layers", json::array()) == "decoder.1.body: layers: expects at least one");
  CHECK(field_complaint("encoder.1.dilated", "weight", "encoder.1.point.weight") ==
        "encoder.1.dilated: tensor encoder.1.point.weight has shape (4, 1, 4), expects (4, 3, 4)");
  CHECK(node_complaint("encoder", [](json& node) { node["layers"][2] = node["layers"][0]; }) != "");
  CHECK(graph_complaint([](json& graph) {
          (*find(graph, "decoder.2.second"))["weight"] = "encoder.1.dilated.weight";
        }) == "decoder.2.second: tensor encoder.1.dilated.weight is already that of encoder.1.dilated");
  CHECK(field_complaint("encoder.0", "bias", 3) == "encoder.0: bias: expects a string, got 3");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    CHECK(file_complaint([&](SampleFile& f) { f.tensor("decoder.1.up.weight").values[7] = bad; }) ==
          "decoder.1.up: tensor decoder.1.up.weight is not finite at index 7; the training went wrong");
    CHECK(file_complaint([&](SampleFile& f) { f.tensor("golden.audio").values[0] = bad; }) ==
          "golden: tensor golden.audio is not finite at index 0; the training went wrong");
    SampleFile half = test::every_op({.bf16 = true});
    half.tensor("decoder.1.up.weight").values.back() = bad;
    CHECK(complaint(half.bytes()).find("decoder.1.up: tensor decoder.1.up.weight is not finite at index") == 0);
  }
  CHECK(file_complaint([](SampleFile& f) { f.tensor("encoder.0.weight").bf16 = true; }) ==
        "tensor encoder.0.weight is BF16, the card says that weights are fp32");
  SampleFile half = test::every_op({.bf16 = true});
  half.tensor("encoder.out.bias").bf16 = true;
  CHECK(complaint(half.bytes()) == "encoder.out: tensor encoder.out.bias is BF16, expects F32");
}

TEST_CASE("golden pairs fit the card") {
  CHECK(file_complaint([](SampleFile& f) { f.tensors.pop_back(); }) ==
        "golden: tensor golden.output is not in the file");
  CHECK(file_complaint([](SampleFile& f) { f.tensor("golden.latents").name = "golden"; }) ==
        "golden: tensor golden.latents is not in the file");
  CHECK(file_complaint([](SampleFile& f) { f.tensor("golden.latents").shape = {48}; }) ==
        "golden: golden.latents has no sensible number of hops");
  CHECK(file_complaint([](SampleFile& f) {
          f.tensor("golden.audio").shape = {192, 1};
        }) == "golden: tensor golden.audio has shape (192, 1), expects (1, 192)");
}

TEST_CASE("nodes are complete, known and hold nothing else") {
  CHECK(file_complaint([](SampleFile& f) { f.metadata["graph"] = "[]"; }) == "graph: expects an object, got an array");
  CHECK(file_complaint([](SampleFile& f) { f.metadata["graph"] = "{\"front\""; }) == "graph: not JSON from byte 9 on");
  CHECK(graph_complaint([](json& g) { g.erase("latent"); }) == "graph: lacks 'latent'");
  CHECK(graph_complaint([](json& g) { g["posterior"] = 1; }) == "graph: has an unknown field 'posterior'");
  CHECK(field_complaint("encoder.0", "op", "gru") == "encoder.0: unknown op 'gru'; update Ravel");
  CHECK(node_complaint("encoder.0", [](json& n) { n.erase("name"); }) == "encoder.0: lacks 'name'");
  CHECK(node_complaint("encoder.0", [](json& n) { n.erase("op"); }) == "encoder.0: lacks 'op'");
  CHECK(node_complaint("encoder.0", [](json& n) { n.erase("bias"); }) == "encoder.0: lacks 'bias'");
  CHECK(field_complaint("encoder.0", "padding", 1) == "encoder.0: has an unknown field 'padding'");
  CHECK(field_complaint("decoder.tanh", "name", "a\nb") ==
        "decoder.8: name: expects 1 to 80 ASCII characters, got 'a?b'");
  CHECK(field_complaint("decoder.tanh", "name", "").find("name: expects 1 to 80") != std::string::npos);
  CHECK(field_complaint("decoder", "layers", 3) == "decoder: layers: expects an array, got 3");
  CHECK(field_complaint("decoder", "layers", json::array({nullptr})) == "decoder.0: expects an object, got null");
}

TEST_CASE("numbers are whole, in bounds and of their own kind") {
  const json bad[] = {1.5, "3", -1, 0, 1e30, 4294967297LL, nullptr, true, json::array({3})};
  const char* shown[] = {"1.500000",   "'3'",  "-1",   "0",       "1000000000000000019884624838656.000000",
                         "4294967297", "null", "true", "an array"};
  for (int i = 0; i < 9; ++i) {
    CHECK(field_complaint("encoder.0", "kernel", bad[i]) ==
          std::string("encoder.0: kernel: expects a whole number from 1 to 1048576, got ") + shown[i]);
  }
  const auto refused = [](const char* name, const char* key, const json& value) {
    const std::string text = field_complaint(name, key, value);
    INFO(text);
    CHECK(text.find(std::string(name) + ": " + key + ": expects a whole number from") == 0);
  };
  refused("encoder.0", "in", 65537);
  refused("encoder.0", "out", 0);
  refused("encoder.0", "dilation", 0);
  refused("encoder.0", "groups", 0);
  refused("encoder.0", "hold", 1);  // its stride is 1: nothing to wait for
  refused("encoder.1.down", "hold", 2);
  refused("encoder.1.down", "stride", 0);
  refused("synthesis", "ratio", 0);
  refused("synthesis", "taps", 0);
  refused("decoder.1.unit.skip", "frames", -1);
  refused("decoder.1.unit.skip", "frames", 1 << 21);
  refused("decoder.loudness.2", "times", 0);
  refused("decoder.noise.4", "noise_bands", 1);
  refused("decoder.noise.4", "noise_bands", 5000);
  refused("decoder.noise.4", "ratio", 70000);
  refused("decoder.noise.4", "node", -1);
  refused("latent", "kept", 7);
  refused("completion", "size", 0);
  CHECK(field_complaint("encoder.act", "slope", "x") == "encoder.act: slope: expects a number, got 'x'");
  CHECK(
      field_complaint("encoder.act", "slope", 1e300).find("encoder.act: slope: expects a number that float32 holds") ==
      0);
  CHECK(field_complaint("decoder.noise.3", "offset", nullptr) == "decoder.noise.3: offset: expects a number, got null");
  CHECK(field_complaint("encoder.act", "slope", 0) == "");
}

TEST_CASE("channels flow from layer to layer") {
  CHECK(field_complaint("encoder.act", "out", 8) == "encoder.act: out: 8, expects 16");
  CHECK(node_complaint("decoder.1.act", [](json& n) { n["in"] = n["out"] = 8; }) ==
        "decoder.1.act: expects 8 channels, got 16");
  CHECK(field_complaint("decoder.2.body", "out", 5) == "decoder.2.body: out: 5, expects 4");
  CHECK(field_complaint("decoder.head", "out", 5) == "decoder.product: is 4 -> 4 channels, decoder.head is 4 -> 5");
  CHECK(field_complaint("decoder.head", "waits", {1, 2}) == "decoder.head: has 2 waits for 3 branches");
  CHECK(field_complaint("decoder.head", "waits", {1, 2, -3}) ==
        "decoder.head: waits: expects a whole number from 0 to 1048576, got -3");
  CHECK(field_complaint("decoder.gated.2", "in", 4) == "decoder.gated.2: in: 4, expects 8");
  CHECK(field_complaint("decoder.loudness.2", "times", 3) == "decoder.loudness.2: out: 4, expects 3");
  CHECK(field_complaint("decoder.noise.4", "bands", 3) == "decoder.noise.4: in: 20, expects 15");
  CHECK(field_complaint("encoder.out", "groups", 3) == "encoder.out: its 3 groups do not divide 16 -> 12 channels");
  CHECK(field_complaint("latent", "size", 5) == "latent: in: 12, expects 10");
  CHECK(field_complaint("latent", "kept", 3) == "latent: out: 4, expects 3");
  CHECK(field_complaint("completion", "kept", 3) == "completion: in: 4, expects 3");
  CHECK(graph_complaint([](json& g) { std::swap(g["latent"], g["completion"]); }) ==
        "completion: expects the op variational here");
  CHECK(graph_complaint([](json& g) {
          g["completion"] = json::parse(R"({"op": "tanh", "name": "t", "in": 6, "out": 6})");
        }) == "t: expects the op fill here");
  CHECK(graph_complaint([](json& g) { g["back"]["layers"].insert(g["back"]["layers"].begin(), g["completion"]); }) ==
        "completion: stands in back, its op is only for the latent");
  CHECK(graph_complaint([](json& g) { g["completion"]["kept"] = g["completion"]["in"] = 3; }) ==
        "completion: expects 3 channels, got 4");
}

TEST_CASE("rates meet and end at the hop") {
  CHECK(field_complaint("encoder.2.down", "stride", 4) ==
        "front: turns 32 frames into 1, the card's hop asks for 16 into 1");
  CHECK(field_complaint("decoder.noise.2", "stride", 1) == "decoder.noise: has another rate than decoder.product");
  CHECK(field_complaint("decoder.noise.4", "ratio", 65536).find("decoder.noise: has another rate") == 0);
  CHECK(field_complaint("encoder.1.down", "stride", 5) ==
        "encoder.1.down: its kernel spans 4 frames, expects its stride 5 to 1048576");
  CHECK(card_complaint([](json& c) {
          c["hop_samples"] = 8;
          c["methods"]["encode"]["out_ratio"] = c["methods"]["decode"]["in_ratio"] = 8;
        }) == "front: turns 16 frames into 1, the card's hop asks for 8 into 1");
  // twenty more halvings: the product must not overflow
  SampleFile file = with_node("encoder", [](json& node) {
    for (int i = 0; i < 20; ++i) {
      json half = node["layers"][0];
      const std::string name = "half." + std::to_string(i);
      half.update(
          {{"name", name}, {"in", 12}, {"out", 12}, {"kernel", 2}, {"stride", 2}, {"weight", name + ".weight"}});
      node["layers"].push_back(half);
    }
  });
  for (int i = 0; i < 20; ++i) {
    file.tensors.push_back({"half." + std::to_string(i) + ".weight", {12, 2, 12}, std::vector<float>(12 * 2 * 12)});
  }
  CHECK(complaint(file.bytes()) == "encoder: its rate of 1 frames for 131072 is beyond 65536");
}

TEST_CASE("a graph cannot ask for endless memory, nodes or depth") {
  CHECK(field_complaint("decoder.head", "waits", {1 << 20, 0, 0}) == "");  // 16 MB
  const auto longer = [](int layers, const json& layer) {
    return node_complaint("decoder", [&](json& node) {
      for (int i = 0; i < layers; ++i) node["layers"].push_back(layer);
    });
  };
  const json late = {{"op", "delay"}, {"name", "late"}, {"in", 4}, {"out", 4}, {"frames", 1 << 20}};
  CHECK(longer(1, late) == "");
  CHECK(longer(20, late) == "late: with the layers before it, a stream needs more than 256 MB");
  const json tanh = {{"op", "tanh"}, {"name", "again"}, {"in", 4}, {"out", 4}};
  CHECK(longer(1000, tanh) == "");
  CHECK(longer(5000, tanh) == "decoder.4038: the graph has more than 4096 nodes");
  const auto deep = [](int levels) {
    return graph_complaint([&](json& g) {
      for (int i = 0; i < levels; ++i) {
        json outer = {{"op", "serial"}, {"name", "deep"}, {"in", 6}, {"out", 1}, {"layers", json::array()}};
        outer["layers"].push_back(std::move(g["back"]));
        g["back"] = std::move(outer);
      }
    });
  };
  CHECK(deep(20) == "");
  CHECK(deep(40) == "graph: nested deeper than 64");
  CHECK(deep(4000) == "graph: nested deeper than 64");
}

TEST_CASE("codes agree with their card, their codebooks and each other") {
  const auto changed = [](const char* part, const std::function<void(json&)>& change) {
    SampleFile file = test::every_op({.quantisers = 3});
    json all = json::parse(file.metadata[part]);
    change(all);
    file.metadata[part] = all.dump();
    return complaint(file.bytes());
  };
  const auto node = [&](const char* name, const char* key, const json& value) {
    return changed("graph", [&](json& graph) { graph[name][key] = value; });
  };
  const auto card = [&](const char* key, const json& value) {
    return changed("card", [&](json& c) { c["codes"][key] = value; });
  };
  CHECK(node("latent", "quantisers", 0) == "latent: quantisers: expects a whole number from 1 to 64, got 0");
  CHECK(node("latent", "quantisers", 65) == "latent: quantisers: expects a whole number from 1 to 64, got 65");
  CHECK(node("completion", "codes", 1) == "completion: codes: expects a whole number from 2 to 65536, got 1");
  CHECK(node("completion", "codes", 1.5) == "completion: codes: expects a whole number from 2 to 65536, got 1.500000");
  CHECK(node("latent", "codes", 4) == "latent: tensor latent.codebook has shape (3, 5, 6), expects (3, 4, 6)");
  CHECK(node("latent", "quantisers", 2) == "latent: tensor latent.codebook has shape (3, 5, 6), expects (2, 5, 6)");
  CHECK(node("latent", "out", 2) == "latent: out: 2, expects 3");
  CHECK(node("completion", "in", 4) == "completion: in: 4, expects 3");
  CHECK(node("completion", "codebook", "latent.codebook") ==
        "completion: tensor latent.codebook is already that of latent");
  CHECK(node("completion", "offset", nullptr) == "completion: offset: expects a string, got null");
  CHECK(node("latent", "kept", 3) == "latent: has an unknown field 'kept'");
  CHECK(node("latent", "op", "variational").find("latent: ") == 0);
  CHECK(changed("graph", [](json& graph) { std::swap(graph["latent"], graph["completion"]); }) ==
        "completion: expects the op variational here");
  CHECK(changed("graph", [](json& graph) { graph["front"]["layers"].push_back(graph["latent"]); }) ==
        "latent: stands in front, its op is only for the latent");
  CHECK(card("quantisers", 2) ==
        "card: method encode is 1 at 1/1 -> 3 at 1/16 channels, expects 1 at 1/1 -> 2 at 1/16");
  CHECK(card("codes", 6) == "card: codes is 6, the graph has 5");
  CHECK(card("codes", "many") == "card: codes: codes: expects a whole number from 2 to 65536, got 'many'");
  CHECK(changed("card", [](json& c) { c.erase("codes"); }) == "card: attributes: lacks 'temperature'");
  CHECK(changed("card", [](json& c) { c["latents"] = 5; }) == "card: latents is 5, the graph has 6");

  SampleFile file = test::every_op({.quantisers = 3});
  file.tensor("latent.codebook").values[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(complaint(file.bytes()) == "latent: tensor latent.codebook is not finite at index 7; the training went wrong");
  file.tensor("latent.codebook").values[7] = 1e30F;
  CHECK(complaint(file.bytes()) == "latent: codebook: a code is too long to be measured");
  file = sample();
  file.metadata["version"] = "4";
  CHECK(complaint(file.bytes()) == "format version 4: this build reads 1 to 3; update Ravel");
}

TEST_CASE("a prior agrees with its numbers, its ends and the card") {
  const auto changed = [](const test::SampleOptions& options, const char* part,
                          const std::function<void(json&)>& change) {
    SampleFile file = test::every_op(options);
    json all = json::parse(file.metadata[part]);
    change(all);
    file.metadata[part] = all.dump();
    return complaint(file.bytes());
  };
  const test::SampleOptions codes{.quantisers = 3, .prior = 4}, latents{.prior = 3};
  const auto node = [&](const test::SampleOptions& options, const char* name, const char* key, const json& value) {
    return changed(options, "graph", [&](json& graph) { (*find(graph["prior"], name))[key] = value; });
  };
  CHECK(node(codes, "prior", "in", 1) == "");
  CHECK(node(codes, "prior", "op", "serial") == "prior: expects the op prior here");
  CHECK(node(codes, "prior", "name", "posterior") == "prior: expects the name prior");
  CHECK(node(codes, "prior", "in", 2) == "prior: in: expects a whole number from 1 to 1, got 2");
  CHECK(node(codes, "prior", "out", 3) == "prior: out: expects a whole number from 4 to 4, got 3");
  CHECK(node(codes, "prior", "noise_node", -1) ==
        "prior: noise_node: expects a whole number from 0 to 2147483647, got -1");
  CHECK(node(codes, "prior", "weight", 1) == "prior: has an unknown field 'weight'");
  CHECK(node(codes, "prior", "codes", 6) == "prior.network: expects a codebook of 4 numbers of 6 codes first");
  CHECK(node(codes, "prior.network.part", "first", 7) ==
        "prior.network.part: first: expects a whole number from 0 to 6, got 7");
  CHECK(node(codes, "prior.network.part", "out", 11) == "prior.network.part: out: 11, expects 10");
  CHECK(node(codes, "prior.network.2.gate", "out", 5) == "prior.network.2.gate: in: 12, expects 10");
  CHECK(changed(codes, "graph", [](json& g) { g["prior"]["network"] = g["prior"]["network"]["layers"][1]; }) ==
        "prior.network.1: expects one codebook, its first layer");
  CHECK(changed(codes, "graph", [](json& g) { g["prior"]["network"]["layers"].erase(8); }) ==
        "prior.network: out: 20, expects 8");
  CHECK(changed(codes, "graph", [](json& g) {
          auto& network = g["prior"]["network"];
          network["layers"].erase(8);
          network["out"] = 8;
        }) == "prior.network: gives 8 channels, expects 20");
  CHECK(changed(codes, "graph", [](json& g) { g["front"]["layers"].push_back(*find(g, "prior.network.part")); }) ==
        "prior.network.part: its op is only for a prior");
  CHECK(node(codes, "prior", "listen", {{"op", "tanh"}, {"name", "x"}, {"in", 3}, {"out", 3}}) ==
        "prior: a model with codes has neither listen nor speak");
  CHECK(changed(codes, "graph", [](json& g) { g.erase("prior"); }) ==
        "card: names the method prior, the graph has none");
  CHECK(changed(codes, "card", [](json& c) { c["methods"].erase("prior"); }) == "prior: the card has no method prior");
  CHECK(changed(codes, "card", [](json& c) { c["methods"]["prior"]["delay_samples"] = 16; }) ==
        "card: the delay of the method prior is 16, the graph has 48");
  CHECK(changed(codes, "card", [](json& c) { c["methods"]["prior"]["out_channels"] = 4; }) ==
        "card: method prior is 1 at 1/16 -> 4 at 1/16 channels, expects 1 at 1/16 -> 3 at 1/16");
  CHECK(node(latents, "prior", "listen", nullptr) ==
        "prior: listen: expects the op quantise, to at most 3 numbers of 5 codes");
  CHECK(node(latents, "prior", "speak", nullptr) ==
        "prior: speak: expects the op codebook, for at most 3 numbers of 5 codes");
  CHECK(changed(latents, "graph", [](json& g) { std::swap(g["prior"]["listen"], g["prior"]["speak"]); }) ==
        "prior: listen: expects the op quantise, to at most 3 numbers of 5 codes");
  SampleFile file = test::every_op(codes);
  std::erase_if(file.tensors, [](const auto& tensor) { return tensor.name == "golden.prior"; });
  CHECK(complaint(file.bytes()) == "golden: tensor golden.prior is not in the file");
}

TEST_CASE("labels agree with their table, and only the decoder has them") {
  const auto changed = [](const char* part, const std::function<void(json&)>& change, int labels = 3) {
    SampleFile file = test::every_op({.labels = labels});
    json all = json::parse(file.metadata[part]);
    change(all);
    file.metadata[part] = all.dump();
    return complaint(file.bytes());
  };
  const auto condition = [](json& graph) -> json& { return graph["back"]["layers"][0]["layers"][1]; };
  const auto node = [&](const char* key, const json& value) {
    return changed("graph", [&](json& graph) { condition(graph)[key] = value; });
  };
  const auto names = [&](const json& value) { return changed("card", [&](json& card) { card["labels"] = value; }); };
  CHECK(node("op", "condition") == "");
  CHECK(node("labels", 2) == "decoder.condition: has 2 labels, expects 3 here");
  CHECK(node("labels", 0) == "decoder.condition: labels: expects a whole number from 1 to 256, got 0");
  CHECK(node("out", 8) == "decoder.condition: out: 8, expects 16");
  CHECK(node("table", nullptr) == "decoder.condition: table: expects a string, got null");
  CHECK(node("weight", 1) == "decoder.condition: has an unknown field 'weight'");
  CHECK(changed("graph", [&](json& g) { g["front"]["layers"].push_back(condition(g)); }) ==
        "decoder.condition: has 3 labels, expects 0 here");
  CHECK(names({"a", "b"}) == "decoder.condition: has 3 labels, expects 2 here");
  CHECK(names({"a", "b", "b"}) == "card: labels: 'b' comes twice");
  CHECK(names({"a", "b", ""}) == "card: labels: expects names of 1 to 320 bytes");
  CHECK(names({"a", "b", 3}) == "card: labels: expects names of 1 to 320 bytes");
  CHECK(names({"a"}) == "card: labels: expects 2 to 256, got 1");
  CHECK(names("a") == "card: labels: expects an array, got 'a'");
  CHECK(changed("card", [](json& card) { card.erase("labels"); }) == "decoder.condition: has 3 labels, expects 0 here");
  CHECK(changed(
            "card",
            [](json& card) {
              card["labels"] = {"a", "b"};
            },
            0) == "card: names 2 labels, the decoder has no condition");
  SampleFile file = test::every_op({.labels = 2});
  file.tensor("decoder.condition.table").values[3] = std::numeric_limits<float>::infinity();
  CHECK(complaint(file.bytes()) ==
        "decoder.condition: tensor decoder.condition.table is not finite at index 3; the training went wrong");
}

TEST_CASE("the card agrees with itself and with the graph") {
  const auto set = [](const char* key, const json& value) { return card_complaint([&](json& c) { c[key] = value; }); };
  CHECK(file_complaint([](SampleFile& f) { f.metadata["card"] = "NaN"; }).find("card: not JSON") == 0);
  CHECK(file_complaint([](SampleFile& f) { f.metadata["card"] = json(3).dump(); }) == "card: expects an object, got 3");
  CHECK(card_complaint([](json& c) { c.erase("name"); }) == "card: lacks 'name'");
  CHECK(set("name", std::string(2000, 'x')) == "card: name: longer than 1000 bytes");
  CHECK(set("name", "Klangschale Nr. 3 \xc3\xa4") == "");
  CHECK(set("channels", 3) == "card: channels: expects a whole number from 1 to 2, got 3");
  CHECK(set("hop_samples", 1 << 17) == "card: hop_samples: expects a whole number from 1 to 65536, got 131072");
  CHECK(set("sample_rate_hz", 44100.0) ==
        "card: sample_rate_hz: expects a whole number from 1 to 1000000, got 44100.000000");
  CHECK(set("latents", 7) == "card: latents: expects a whole number from 1 to 6, got 7");
  CHECK(set("weights", "int8") == "card: weights: expects fp32 or bf16, got 'int8'");
  CHECK(set("fidelity_curve", {1.0}) == "card: fidelity_curve has 1 values, latent_size is 6");
  CHECK(set("fidelity_curve", {1, 1, 1, 1, 1, nullptr}) == "card: fidelity_curve: expects a number, got null");
  CHECK(card_complaint([](json& c) { c["attributes"]["temperature"]["default"] = 11; }) ==
        "card: temperature: expects 0 to 10");
  CHECK(card_complaint([](json& c) { c["methods"].erase("decode"); }) == "card: methods: lacks 'decode'");
  CHECK(card_complaint([](json& c) { c["methods"]["decode"]["delay_samples"] = -1; }) ==
        "card: methods: decode: delay_samples: expects a whole number from 0 to 16777216, got -1");
  CHECK(card_complaint([](json& c) { c["methods"]["decode"]["delay_samples"] = 4; }) ==
        "card: method forward is 19 samples late, encode and decode are 16 + 4");
  CHECK(card_complaint([](json& c) { c["methods"]["encode"]["out_ratio"] = 8; }) ==
        "card: method encode is 1 at 1/1 -> 4 at 1/8 channels, expects 1 at 1/1 -> 4 at 1/16");
  CHECK(card_complaint([](json& c) {
          c["latents"] = c["methods"]["encode"]["out_channels"] = c["methods"]["decode"]["in_channels"] = 5;
        }) == "card: latents is 5, the graph has 4");
  CHECK(card_complaint([](json& c) {
          c["latent_size"] = 5;
          c["fidelity_curve"].erase(0);
        }) == "card: latent_size is 5, the graph has 6");
  CHECK(card_complaint([](json& c) {
          c["channels"] = 2;
          c["methods"]["forward"]["in_channels"] = c["methods"]["forward"]["out_channels"] = 2;
          c["methods"]["encode"]["in_channels"] = c["methods"]["decode"]["out_channels"] = 2;
        }) == "front: expects 1 channel, got 2");
}

TEST_CASE("names in messages are cut and printable") {
  const std::string text = graph_complaint([](json& g) { g[std::string(5000, 'a') + "\n"] = 1; });
  CHECK(text == "graph: has an unknown field '" + std::string(80, 'a') + "...'");
}

TEST_CASE("whole files are read, anything else is named") {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("ravel-test-graph-" + std::to_string(std::random_device{}()));
  fs::create_directories(folder);
  const auto refusal = [](const std::string& path) -> std::string {
    try {
      read_file(path);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  const std::string path = (folder /
                            "m\xc3\xb6"
                            "del.ravel")
                               .string();
  CHECK(refusal(path) == path + ": no such file");
  CHECK(refusal(folder.string()) == folder.string() + ": is a directory, give the .ravel file in it");
  CHECK(refusal("") == "the path of the model is empty or has a null in it");
  const Bytes bytes = test::minimal().bytes();
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  const FileBytes read = read_file(path);
  CHECK(Bytes(read.data.get(), read.data.get() + read.size) == bytes);
  std::ofstream(path, std::ios::binary | std::ios::trunc).close();
  CHECK(read_file(path).size == 0);
  fs::resize_file(path, std::uintmax_t{3} << 30);  // sparse
  CHECK(refusal(path) == path + ": 3221225472 bytes, more than the 2147483648 that a model may have");
  fs::remove_all(folder);
#if defined(__linux__)
  CHECK(refusal("/dev/zero") == "/dev/zero: is not a regular file");
#endif
}

namespace {

// One hop of silence through every method of the model in `bytes`. False for a file that is refused.
bool runs(const Bytes& bytes) {
  std::shared_ptr<const Model> model;
  try {
    model = Model::parse(bytes.data(), bytes.size(), Isa::reference);
  } catch (const Error&) {
    return false;
  }
  for (const Method method : kEveryMethod) {
    const MethodInfo& info = model->info().method(method);
    if (info.in_channels == 0) continue;
    Engine engine(model, method);
    engine.set_prior(0.5F);
    const std::vector<float> x(static_cast<std::size_t>(engine.in_frames()));
    std::vector<std::vector<float>> y(static_cast<std::size_t>(info.out_channels),
                                      std::vector<float>(static_cast<std::size_t>(engine.out_frames())));
    const std::vector<const float*> in(static_cast<std::size_t>(info.in_channels), x.data());
    std::vector<float*> out(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) out[i] = y[i].data();
    engine.process(in.data(), out.data(), 1);
  }
  return true;
}

// Runs `count` damaged copies and expects both kinds of ends among them.
void sweep(const Bytes& sound, int count, unsigned seed, const std::function<void(Bytes&, std::mt19937&)>& damage) {
  std::mt19937 random(seed);
  int ran = 0;
  for (int i = 0; i < count; ++i) {
    Bytes bytes = sound;
    damage(bytes, random);
    ran += runs(bytes) ? 1 : 0;
  }
  MESSAGE(ran, " of ", count, " run");
  CHECK(ran > 0);
  CHECK(ran < count);
}

void flip(Bytes& bytes, std::size_t first, std::size_t last, std::mt19937& random) {
  bytes[first + random() % (last - first)] ^= std::byte(1U << random() % 8);
}

}  // namespace

TEST_CASE("damaged files with codes give a complaint or a model that runs") {
  const SampleFile file =
      test::every_op({.bands = 2, .width = 2, .latent_size = 3, .sphere = true, .quantisers = 2, .prior = 3});
  const Bytes sound = file.bytes();
  const std::size_t header = 8 + file.header().size();
  REQUIRE(runs(sound));
  sweep(sound, 700, 6, [&](Bytes& bytes, std::mt19937& random) { flip(bytes, 0, header, random); });
  sweep(sound, 100, 7, [&](Bytes& bytes, std::mt19937& random) {
    for (int i = 0; i < 100; ++i) flip(bytes, header, bytes.size(), random);
  });
}

TEST_CASE("damaged files give a complaint or a model that runs") {
  const SampleFile file = test::every_op({.channels = 2, .bands = 2, .width = 2, .latent_size = 3, .kept = 2});
  const Bytes sound = file.bytes();
  const std::size_t header = 8 + file.header().size();
  REQUIRE(runs(sound));
  SUBCASE("a bit of the header") {
    sweep(sound, 1500, 3, [&](Bytes& bytes, std::mt19937& random) { flip(bytes, 0, header, random); });
  }
  SUBCASE("words of the data") {
    sweep(sound, 300, 4, [&](Bytes& bytes, std::mt19937& random) {
      for (int i = 0; i < 20; ++i) {
        const std::size_t word = header + random() % ((bytes.size() - header) / 4) * 4;
        const auto value = static_cast<std::uint32_t>(random());
        std::memcpy(bytes.data() + word, &value, sizeof value);
      }
    });
  }
  SUBCASE("a digit of the header") {
    sweep(sound, 1500, 5, [&](Bytes& bytes, std::mt19937& random) {
      for (std::size_t at = 8 + random() % (header - 8); at < header; ++at) {
        const char c = static_cast<char>(bytes[at]);
        if (c < '0' || c > '9') continue;
        bytes[at] = static_cast<std::byte>('0' + random() % 10);
        return;
      }
    });
  }
  SUBCASE("its end") {
    for (std::size_t size = 0; size < sound.size(); size += size < 64 ? 1 : 97) {
      CHECK_FALSE(runs(Bytes(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(size))));
    }
  }
}
