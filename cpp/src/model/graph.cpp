// From the JSON graph to checked layers: operations, integers, tensors, channels and rates.
#include "graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "card.h"
#include "fields.h"
#include "memory.h"
#include "ravel/error.h"
#include "safetensors.h"
#include "tensors.h"
#include "text.h"

namespace ravel::graph {
namespace {

constexpr const char* kFormatVersions[] = {"1", "2", "3"};  // 2: quantise, codebook, sphere, condition; 3: prior
constexpr int kMaxNodes = 4096;                             // v2-small has 196
constexpr int kMaxSpan = 1 << 20;                           // frames of a kernel or a delay
constexpr int kMaxGroups = 64;
constexpr int kMaxNoiseBands = 4096;
constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr std::size_t kMaxNodeName = 80;  // what a message shows

std::string channels(int count) { return std::to_string(count) + (count == 1 ? " channel" : " channels"); }

class Reader {
 public:
  explicit Reader(Tensors& tensors) : tensors_(tensors) {}

  // The node "prior": no op, since what it plays goes into no other node.
  Prior prior(const json::Value& value) {
    Fields fields(value, "prior");
    if (fields.text("op") != "prior") fields.refuse("expects the op prior here");
    if (fields.text("name") != "prior") fields.refuse("expects the name prior");
    Prior prior;
    prior.quantisers = fields.integer("quantisers", 1, kMaxQuantisers);
    prior.codes = fields.integer("codes", 2, kMaxCodes);
    prior.noise_node = fields.integer("noise_node", 0, kMaxInt);
    fields.integer("in", 1, 1);
    fields.integer("out", prior.quantisers, prior.quantisers);
    in_prior_ = true;
    codebooks_ = 0;
    prior.network = node(fields.at("network"), "prior.network");
    if (codebooks_ != 1) throw Error(prior.network.name + ": expects one codebook, its first layer");
    in_prior_ = false;
    if (!fields.at("listen").as<std::nullptr_t>()) prior.listen = node(fields.at("listen"), "prior.listen");
    if (!fields.at("speak").as<std::nullptr_t>()) prior.speak = node(fields.at("speak"), "prior.speak");
    fields.finish();
    return prior;
  }

  // Nodes to come may, and one of them has to, be conditioned by so many labels.
  void allow_labels(int labels) { labels_ = labels; }
  int conditions() const { return conditions_; }

  // `place` names the node in messages until its own name is known.
  Node node(const json::Value& value, const std::string& place) {
    if (++count_ > kMaxNodes) throw Error(place + ": the graph has more than " + std::to_string(kMaxNodes) + " nodes");
    Fields fields(value, place);
    Node node;
    node.name = fields.text("name");
    if (node.name.empty() || node.name.size() > kMaxNodeName || node.name != printable(node.name)) {
      fields.refuse("name: expects 1 to 80 ASCII characters, got " + in_quotes(node.name));
    }
    fields.rename(node.name);
    node.in_channels = fields.integer("in", 1, kMaxChannels);
    node.out_channels = fields.integer("out", 1, kMaxChannels);
    read_op(fields, node);
    fields.finish();
    return node;
  }

 private:
  struct Op {
    const char* name;
    void (Reader::*read)(Fields&, Node&);
  };

  void read_op(Fields& fields, Node& node) {
    static constexpr Op ops[] = {
        {"amplitude", &Reader::amplitude},
        {"codebook", &Reader::codebook},
        {"condition", &Reader::condition},
        {"conv1d", &Reader::conv1d},
        {"delay", &Reader::delay},
        {"fill", &Reader::fill},
        {"filtered_noise", &Reader::filtered_noise},
        {"gated_half", &Reader::gated_half},
        {"gated_tanh", &Reader::gated_tanh},
        {"leaky_relu", &Reader::leaky_relu},
        {"part", &Reader::part},
        {"product", &Reader::product},
        {"quantise", &Reader::quantise},
        {"repeat", &Reader::repeat},
        {"serial", &Reader::serial},
        {"snake", &Reader::snake},
        {"sphere", &Reader::sphere},
        {"sum", &Reader::sum},
        {"tanh", &Reader::tanh},
        {"upsample", &Reader::upsample},
        {"variational", &Reader::variational},
    };
    const std::string& wanted = fields.text("op");
    const auto* op = std::find_if(std::begin(ops), std::end(ops), [&](const Op& o) { return wanted == o.name; });
    if (op == std::end(ops)) fields.refuse("unknown op " + in_quotes(wanted) + "; update Ravel");
    (this->*op->read)(fields, node);
  }

  // The same channels out as in.
  static void keep_channels(const Fields& fields, const Node& node) { expect_out(fields, node, node.in_channels); }
  static void expect_in(const Fields& fields, const Node& node, std::int64_t want) {
    if (node.in_channels != want) {
      fields.refuse("in: " + std::to_string(node.in_channels) + ", expects " + std::to_string(want));
    }
  }
  static void expect_out(const Fields& fields, const Node& node, std::int64_t want) {
    if (node.out_channels != want) {
      fields.refuse("out: " + std::to_string(node.out_channels) + ", expects " + std::to_string(want));
    }
  }

  static void set_rate(const Fields& fields, Node& node, std::int64_t down, std::int64_t up) {
    if (down > kMaxHopSamples || up > kMaxHopSamples) {
      fields.refuse("its rate of " + std::to_string(up) + " frames for " + std::to_string(down) + " is beyond 65536");
    }
    node.down = static_cast<int>(down);
    node.up = static_cast<int>(up);
  }

  std::vector<Node> children(Fields& fields, const char* key) {
    std::vector<Node> nodes;
    for (const json::Value& value : fields.array(key)) {
      nodes.push_back(node(value, fields.where() + "." + std::to_string(nodes.size())));
      const auto& op = nodes.back().op;
      if (std::holds_alternative<Variational>(op) || std::holds_alternative<Fill>(op) ||
          std::holds_alternative<Quantise>(op) || (std::holds_alternative<Codebook>(op) && !in_prior_)) {
        throw Error(nodes.back().name + ": stands in " + fields.where() + ", its op is only for the latent");
      }
    }
    if (nodes.empty()) fields.refuse(std::string(key) + ": expects at least one");
    return nodes;
  }

  // Rate of a chain: the smallest whole block that every layer accepts, and what it gives.
  void serial(Fields& fields, Node& node) {
    Serial serial{children(fields, "layers")};
    int width = node.in_channels;
    std::int64_t down = 1, up = 1;
    for (const Node& layer : serial.layers) {
      if (layer.in_channels != width) {
        throw Error(layer.name + ": expects " + channels(layer.in_channels) + ", got " + std::to_string(width));
      }
      width = layer.out_channels;
      const std::int64_t blocks = layer.down / std::gcd(up, std::int64_t{layer.down});
      down *= blocks;
      up = up * blocks / layer.down * layer.up;
      set_rate(fields, node, down, up);
    }
    expect_out(fields, node, width);
    node.op = std::move(serial);
  }

  void combine(Fields& fields, Node& node, bool product) {
    Combine combine;
    combine.product = product;
    combine.branches = children(fields, "branches");
    for (const json::Value& wait : fields.array("waits")) {
      combine.waits.push_back(integer(wait, node.name + ": waits", 0, kMaxSpan));
    }
    if (combine.waits.size() != combine.branches.size()) {
      fields.refuse("has " + std::to_string(combine.waits.size()) + " waits for " +
                    std::to_string(combine.branches.size()) + " branches");
    }
    const Node& first = combine.branches.front();
    std::int64_t down = 1;
    for (const Node& branch : combine.branches) {
      if (branch.in_channels != node.in_channels || branch.out_channels != node.out_channels) {
        throw Error(branch.name + ": is " + std::to_string(branch.in_channels) + " -> " +
                    channels(branch.out_channels) + ", " + node.name + " is " + std::to_string(node.in_channels) +
                    " -> " + std::to_string(node.out_channels));
      }
      if (std::int64_t{branch.up} * first.down != std::int64_t{first.up} * branch.down) {
        throw Error(branch.name + ": has another rate than " + first.name);
      }
      down = std::lcm(down, std::int64_t{branch.down});
      set_rate(fields, node, down, down * first.up / first.down);
    }
    node.op = std::move(combine);
  }
  void sum(Fields& fields, Node& node) { combine(fields, node, false); }
  void product(Fields& fields, Node& node) { combine(fields, node, true); }

  std::vector<float> optional_bias(Fields& fields, const Node& node, std::int64_t count) {
    if (fields.at("bias").as<std::nullptr_t>()) return {};
    return tensors_.take_floats(fields.text("bias"), {count}, node.name);
  }

  void conv1d(Fields& fields, Node& node) {
    Conv1d conv;
    conv.kernel = fields.integer("kernel", 1, kMaxSpan);
    conv.stride = fields.integer("stride", 1, kMaxHopSamples);
    conv.dilation = fields.integer("dilation", 1, kMaxSpan);
    conv.groups = fields.integer("groups", 1, kMaxGroups);
    conv.hold = fields.integer("hold", 0, conv.stride - 1);
    const std::int64_t span = std::int64_t{conv.kernel - 1} * conv.dilation + 1;
    if (span > kMaxSpan || span < conv.stride) {
      fields.refuse("its kernel spans " + std::to_string(span) + " frames, expects its stride " +
                    std::to_string(conv.stride) + " to " + std::to_string(kMaxSpan));
    }
    if (node.in_channels % conv.groups != 0 || node.out_channels % conv.groups != 0) {
      fields.refuse("its " + std::to_string(conv.groups) + " groups do not divide " + std::to_string(node.in_channels) +
                    " -> " + channels(node.out_channels));
    }
    conv.weight = tensors_.take(fields.text("weight"), {node.out_channels, conv.kernel, node.in_channels / conv.groups},
                                node.name);
    conv.bias = optional_bias(fields, node, node.out_channels);
    set_rate(fields, node, conv.stride, 1);
    node.op = std::move(conv);
  }

  void upsample(Fields& fields, Node& node) {
    Upsample upsample;
    upsample.ratio = fields.integer("ratio", 1, kMaxHopSamples);
    upsample.taps = fields.integer("taps", 1, kMaxSpan);
    const std::int64_t rows = std::int64_t{upsample.ratio} * node.out_channels;
    upsample.weight = tensors_.take(fields.text("weight"), {rows, upsample.taps, node.in_channels}, node.name);
    upsample.bias = optional_bias(fields, node, rows);
    set_rate(fields, node, 1, upsample.ratio);
    node.op = std::move(upsample);
  }

  void delay(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = Delay{fields.integer("frames", 0, kMaxSpan)};
  }
  void leaky_relu(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = LeakyReLU{fields.number("slope")};
  }
  void snake(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = Snake{tensors_.take_floats(fields.text("alpha"), {node.in_channels}, node.name)};
  }
  void tanh(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = Tanh{};
  }
  void sphere(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = Sphere{};
  }
  void amplitude(Fields& fields, Node& node) {
    keep_channels(fields, node);
    node.op = Amplitude{fields.number("offset")};
  }
  void gated_half(Fields& fields, Node& node) {
    expect_in(fields, node, std::int64_t{2} * node.out_channels);
    node.op = GatedHalf{};
  }
  void gated_tanh(Fields& fields, Node& node) {
    expect_in(fields, node, std::int64_t{2} * node.out_channels);
    node.op = GatedTanh{};
  }
  void part(Fields& fields, Node& node) {
    if (!in_prior_) fields.refuse("its op is only for a prior");
    if (node.out_channels > node.in_channels) expect_out(fields, node, node.in_channels);
    node.op = Part{fields.integer("first", 0, node.in_channels - node.out_channels)};
  }
  void repeat(Fields& fields, Node& node) {
    const Repeat repeat{fields.integer("times", 1, kMaxChannels)};
    expect_out(fields, node, std::int64_t{repeat.times} * node.in_channels);
    node.op = repeat;
  }

  void filtered_noise(Fields& fields, Node& node) {
    if (in_prior_) fields.refuse("its op is not for a prior");
    FilteredNoise noise;
    noise.bands = fields.integer("bands", 1, kMaxChannels);
    noise.noise_bands = fields.integer("noise_bands", 2, kMaxNoiseBands);
    noise.ratio = fields.integer("ratio", 1, kMaxHopSamples);
    noise.node = fields.integer("node", 0, kMaxInt);
    expect_in(fields, node, std::int64_t{noise.bands} * noise.noise_bands);
    expect_out(fields, node, noise.bands);
    noise.response =
        tensors_.take_floats(fields.text("response"), {noise.noise_bands, 2 * (noise.noise_bands - 1)}, node.name);
    set_rate(fields, node, 1, noise.ratio);
    node.op = std::move(noise);
  }

  void variational(Fields& fields, Node& node) {
    Variational latent;
    latent.size = fields.integer("size", 1, kMaxChannels);
    latent.kept = fields.integer("kept", 1, latent.size);
    latent.node = fields.integer("node", 0, kMaxInt);
    expect_in(fields, node, std::int64_t{2} * latent.size);
    expect_out(fields, node, latent.kept);
    latent.rotation = tensors_.take_floats(fields.text("rotation"), {latent.size, latent.size}, node.name);
    node.op = std::move(latent);
  }

  void fill(Fields& fields, Node& node) {
    Fill fill;
    fill.size = fields.integer("size", 1, kMaxChannels);
    fill.kept = fields.integer("kept", 1, fill.size);
    fill.node = fields.integer("node", 0, kMaxInt);
    expect_in(fields, node, fill.kept);
    expect_out(fields, node, fill.size);
    node.op = fill;
  }

  // The fields that both ends of a discrete latent share; `size` is the length of a code's vector.
  template <typename Op>
  Op codes(Fields& fields, const Node& node, int size) {
    Op op;
    op.quantisers = fields.integer("quantisers", 1, kMaxQuantisers);
    op.codes = fields.integer("codes", 2, kMaxCodes);
    op.codebook = tensors_.take_floats(fields.text("codebook"), {op.quantisers, op.codes, size}, node.name);
    return op;
  }

  void quantise(Fields& fields, Node& node) {
    auto quantise = codes<Quantise>(fields, node, node.in_channels);
    expect_out(fields, node, quantise.quantisers);
    const std::size_t size = static_cast<std::size_t>(node.in_channels);
    for (std::size_t at = 0; at < quantise.codebook.size(); at += size) {
      double square = 0;
      for (std::size_t i = 0; i < size; ++i) square += double{quantise.codebook[at + i]} * quantise.codebook[at + i];
      quantise.bias.push_back(static_cast<float>(-0.5 * square));
      if (!std::isfinite(quantise.bias.back())) fields.refuse("codebook: a code is too long to be measured");
    }
    node.op = std::move(quantise);
  }

  void codebook(Fields& fields, Node& node) {
    auto codebook = codes<Codebook>(fields, node, node.out_channels);
    expect_in(fields, node, codebook.quantisers);
    codebook.offset = tensors_.take_floats(fields.text("offset"), {node.out_channels}, node.name);
    ++codebooks_;
    node.op = std::move(codebook);
  }

  void condition(Fields& fields, Node& node) {
    keep_channels(fields, node);
    Condition condition;
    condition.labels = fields.integer("labels", 1, kMaxLabels);
    if (condition.labels != labels_) {
      fields.refuse("has " + std::to_string(condition.labels) + " labels, expects " + std::to_string(labels_) +
                    " here");
    }
    condition.table = tensors_.take_floats(fields.text("table"), {condition.labels, node.out_channels}, node.name);
    ++conditions_;
    node.op = std::move(condition);
  }

  Tensors& tensors_;
  int count_ = 0, labels_ = 0, conditions_ = 0, codebooks_ = 0;
  bool in_prior_ = false;
};

const std::string& metadata(const safetensors::File& file, const char* key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end())
    throw Error(std::string("this is a safetensors file without '") + key + "', not a model of Ravel");
  return found->second;
}

void check_format(const safetensors::File& file) {
  const std::string& format = metadata(file, "format");
  if (format != "ravel")
    throw Error("this is a safetensors file of format " + in_quotes(format) + ", not a model of Ravel");
  const std::string& version = metadata(file, "version");
  if (std::find(std::begin(kFormatVersions), std::end(kFormatVersions), version) == std::end(kFormatVersions)) {
    throw Error("format version " + printable(version) + ": this build reads 1 to 3; update Ravel");
  }
}

void check_type(const Tensor& tensor, const Info& info) {
  if (tensor.type == Tensor::Type::bf16 && !info.bf16_weights) {
    throw Error("tensor " + printable(tensor.name) + " is BF16, the card says that weights are fp32");
  }
}

template <typename Op>
void expect_op(const Node& node, const char* op) {
  if (!std::holds_alternative<Op>(node.op)) throw Error(node.name + ": expects the op " + op + " here");
}

void expect_channels(const Node& node, int got) {
  if (node.in_channels != got) {
    throw Error(node.name + ": expects " + channels(node.in_channels) + ", got " + std::to_string(got));
  }
}

void expect_rate(const Node& node, int down, int up) {
  if (node.down == down && node.up == up) return;
  throw Error(node.name + ": turns " + std::to_string(node.down) + " frames into " + std::to_string(node.up) +
              ", the card's hop asks for " + std::to_string(down) + " into " + std::to_string(up));
}

// Where the card's codes are the prior's; else it listens to latents, and speaks them.
void check_prior(const Prior& prior, const Graph& graph) {
  const Info& info = graph.info;
  const auto* network = std::get_if<Serial>(&prior.network.op);
  const auto* embedding = network == nullptr ? nullptr : std::get_if<Codebook>(&network->layers.front().op);
  const auto fits = [&](const auto* codes) {
    return codes != nullptr && codes->quantisers == prior.quantisers && codes->codes == prior.codes;
  };
  const std::string numbers =
      std::to_string(prior.quantisers) + " numbers of " + std::to_string(prior.codes) + " codes";
  if (!fits(embedding)) throw Error(prior.network.name + ": expects a codebook of " + numbers + " first");
  expect_rate(prior.network, 1, 1);
  const std::int64_t logits = std::int64_t{prior.quantisers} * prior.codes;
  if (prior.network.out_channels != logits) {
    throw Error(prior.network.name + ": gives " + channels(prior.network.out_channels) + ", expects " +
                std::to_string(logits));
  }
  if (info.quantisers > 0) {
    if (prior.listen || prior.speak) throw Error("prior: a model with codes has neither listen nor speak");
    if (prior.codes != info.codes || prior.quantisers < info.quantisers) {
      throw Error("prior: plays " + numbers + ", the card has " + std::to_string(info.quantisers) + " of " +
                  std::to_string(info.codes));
    }
    return;
  }
  // of the first numbers only, where fewer latents are played
  const auto fits_first = [&](const auto* codes) {
    return codes != nullptr && codes->quantisers <= prior.quantisers && codes->codes == prior.codes;
  };
  if (!prior.listen || !fits_first(std::get_if<Quantise>(&prior.listen->op))) {
    throw Error("prior: listen: expects the op quantise, to at most " + numbers);
  }
  if (!prior.speak || !fits_first(std::get_if<Codebook>(&prior.speak->op))) {
    throw Error("prior: speak: expects the op codebook, for at most " + numbers);
  }
  expect_channels(*prior.listen, info.latents);
  expect_channels(*prior.speak, prior.listen->out_channels);
  if (prior.speak->out_channels != info.latents) {
    throw Error(prior.speak->name + ": gives " + channels(prior.speak->out_channels) + ", the card has " +
                std::to_string(info.latents) + " latents");
  }
}

// The four parts follow from one another and from the card: audio, parameters, played latents, all latents, audio.
void check_parts(const Graph& graph) {
  const Info& info = graph.info;
  const auto* quantise = std::get_if<Quantise>(&graph.latent.op);
  if (quantise != nullptr) {
    expect_op<Codebook>(graph.completion, "codebook");
  } else {
    expect_op<Variational>(graph.latent, "variational");
    expect_op<Fill>(graph.completion, "fill");
  }
  expect_channels(graph.front, info.channels);
  expect_channels(graph.latent, graph.front.out_channels);
  expect_channels(graph.completion, graph.latent.out_channels);
  expect_channels(graph.back, graph.completion.out_channels);
  const auto agree = [](const char* what, int got, int want) {
    if (got != want) {
      throw Error(std::string("card: ") + what + " is " + std::to_string(want) + ", the graph has " +
                  std::to_string(got));
    }
  };
  if (quantise != nullptr) {
    agree("quantisers", quantise->quantisers, info.quantisers);
    agree("codes", quantise->codes, info.codes);
    agree("codes", std::get<Codebook>(graph.completion.op).codes, info.codes);
    agree("latents", graph.completion.out_channels, info.latents);
  } else {
    agree("quantisers", 0, info.quantisers);
    agree("latents", graph.latent.out_channels, info.latents);
    agree("latent_size", std::get<Variational>(graph.latent.op).size, info.latent_size);
  }
  agree("latent_size", graph.completion.out_channels, info.latent_size);
  agree("channels", graph.back.out_channels, info.channels);
  expect_rate(graph.front, info.hop_samples, 1);
  expect_rate(graph.back, 1, info.hop_samples);
  const bool told = info.method(Method::prior).in_channels > 0;
  if (told != graph.prior.has_value()) {
    throw Error(told ? "card: names the method prior, the graph has none" : "prior: the card has no method prior");
  }
  if (!graph.prior) return;
  check_prior(*graph.prior, graph);
  agree("the delay of the method prior", (graph.prior->quantisers - 1) * info.hop_samples,
        info.method(Method::prior).delay_samples);
}

std::int64_t golden_hops(const std::vector<Tensor>& all, const std::string& name, const Info& info) {
  const auto tensor = std::find_if(all.begin(), all.end(), [&](const Tensor& t) { return t.name == name; });
  if (tensor == all.end()) throw Error("golden: tensor " + name + " is not in the file");
  const std::int64_t hops = tensor->shape.size() == 2 ? tensor->shape[1] : 0;
  if (hops < 1 || hops > kMaxSpan / info.hop_samples)
    throw Error("golden: " + name + " has no sensible number of hops");
  return hops;
}

Golden read_golden(Tensors& tensors, const std::vector<Tensor>& all, const Info& info) {
  const std::int64_t hops = golden_hops(all, "golden.latents", info);
  const std::int64_t frames = hops * info.hop_samples;
  Golden golden;
  golden.hops = static_cast<int>(hops);
  golden.audio = tensors.take_floats("golden.audio", {info.channels, frames}, "golden");
  golden.latents = tensors.take_floats("golden.latents", {info.method(Method::encode).out_channels, hops}, "golden");
  golden.output = tensors.take_floats("golden.output", {info.channels, frames}, "golden");
  if (const MethodInfo& prior = info.method(Method::prior); prior.in_channels > 0) {
    const std::int64_t rows = golden_hops(all, "golden.prior", info);
    golden.prior = tensors.take_floats("golden.prior", {prior.out_channels, rows}, "golden");
  }
  return golden;
}

}  // namespace

Graph read(const std::byte* bytes, std::size_t size) {
  const safetensors::File file = safetensors::read(bytes, size);
  check_format(file);
  Graph graph;
  graph.info = read_card(metadata(file, "card"));
  for (const Tensor& tensor : file.tensors) check_type(tensor, graph.info);
  const json::Value value = json::parse(metadata(file, "graph"), "graph");
  Tensors tensors(file.tensors);
  Reader reader(tensors);
  Fields parts(value, "graph");
  graph.front = reader.node(parts.at("front"), "front");
  graph.latent = reader.node(parts.at("latent"), "latent");
  graph.completion = reader.node(parts.at("completion"), "completion");
  reader.allow_labels(static_cast<int>(graph.info.labels.size()));
  graph.back = reader.node(parts.at("back"), "back");
  if (!graph.info.labels.empty() && reader.conditions() == 0) {
    throw Error("card: names " + std::to_string(graph.info.labels.size()) + " labels, the decoder has no condition");
  }
  reader.allow_labels(0);
  if (parts.has("prior")) graph.prior = reader.prior(parts.at("prior"));
  parts.finish();
  check_parts(graph);
  graph.golden = read_golden(tensors, file.tensors, graph.info);
  tensors.finish();
  check_memory(graph);
  return graph;
}

}  // namespace ravel::graph
