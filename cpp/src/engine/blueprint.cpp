// Compiles a graph: walks its layers once a method, fuses activations and residual sums, packs the weights.
#include "engine/blueprint.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/packer.h"

namespace ravel::engine {

const char* name(Op::Kind kind) noexcept {
  switch (kind) {
    case Op::Kind::conv: return "conv";
    case Op::Kind::activate: return "activate";
    case Op::Kind::tanh: return "tanh";
    case Op::Kind::amplitude: return "amplitude";
    case Op::Kind::gate: return "gate";
    case Op::Kind::snake: return "snake";
    case Op::Kind::repeat: return "repeat";
    case Op::Kind::add: return "add";
    case Op::Kind::multiply: return "multiply";
    case Op::Kind::noise: return "noise";
    case Op::Kind::latent: return "latent";
    case Op::Kind::fill: return "fill";
    case Op::Kind::sphere: return "sphere";
    case Op::Kind::quantise: return "quantise";
    case Op::Kind::codebook: return "codebook";
    case Op::Kind::condition: return "condition";
    case Op::Kind::gated_tanh: return "gated_tanh";
    case Op::Kind::hear: return "hear";
    case Op::Kind::draw: return "draw";
  }
  return "?";
}

namespace {

// A signal as its reader wants it: late by `behind` rows, through leaky(slope), of a part its channels from `column` on.
struct Value {
  int signal = 0;
  int behind = 0;
  float slope = 1;
  int column = -1;  // all channels
};

class Compiler {
 public:
  Compiler(const Blueprint& blueprint, Packer& packer, Program& program)
      : blueprint_(blueprint), packer_(packer), program_(program) {}

  Value input(int channels, int frames, bool planar) {
    program_.in_channels = channels;
    program_.in_frames = frames;
    const Value value = new_signal(channels, frames, -1);
    program_.input = raw_buffer(value.signal);
    if (planar) {
      program_.buffers[program_.input].planes = channels;
      program_.buffers[program_.input].width = 1;
    }
    return value;
  }

  void output(Value value) {
    program_.output = read(value, 0, false);
    program_.out_channels = signals_[value.signal].channels;
    program_.out_frames = signals_[value.signal].frames;
    const auto& buffer = program_.buffers[program_.output.buffer];
    if (buffer.planes != 1) throw Error("the model gives back its input: there is nothing to run");
    // the newest row stays readable
    program_.buffers[program_.output.buffer].history = std::max(buffer.history, value.behind + 1);
  }

  Value emit(const graph::Node& node, Value x) {
    return std::visit([&](const auto& layer) { return emit(node, layer, x); }, node.op);
  }

  // From played latents or numbers to all latents, blended with what a prior plays.
  Value complete(const graph::Node& node, Value x, std::optional<Value> alone) {
    x = emit(node, x);
    if (alone) program_.ops.back().b = read(*alone, 0, false);
    return x;
  }

  // What a prior plays: the numbers or latents that `completion` takes. It may hear what is played besides.
  Value prior(const graph::Prior& prior, const graph::Node& completion, std::optional<Value> played,
              std::optional<Value> warmth) {
    program_.first_of_prior = static_cast<int>(program_.ops.size());
    // a channel a quantiser, and one that decides what is heard
    const int noise = noise_source(prior.noise_node, prior.quantisers + 1);
    std::optional<Value> heard;
    if (played) heard = hear(prior, prior.listen ? emit(*prior.listen, *played) : *played, noise);
    const Value pattern = new_signal(prior.quantisers, 1, -1);  // of what is drawn at the end
    const auto& layers = std::get<graph::Serial>(prior.network.op).layers;
    const auto& embedding = std::get<graph::Codebook>(layers.front().op);
    Op first = looked_up(layers.front(), embedding, {pattern.signal, 1, 1});
    in_prior_ = true;
    first.first = 1;  // so that the zeros after a reset are none
    Value x = append_map(std::move(first), layers.front().out_channels);
    for (std::size_t i = 1; i < layers.size(); ++i) x = emit(layers[i], x);
    const int given = (prior.speak ? *prior.speak : completion).in_channels;  // fewer than it knows, of a small export
    x = draw(prior, x, {pattern.signal, given, noise}, heard, warmth);
    if (prior.speak) {
      Op speak = looked_up(*prior.speak, std::get<graph::Codebook>(prior.speak->op), x);
      speak.hooked = !played;
      x = append_map(std::move(speak), prior.speak->out_channels);
    }
    in_prior_ = false;
    program_.after_prior = static_cast<int>(program_.ops.size());
    return x;
  }

 private:
  struct Variant {
    float slope;
    bool bf16;
    int buffer;
  };
  struct Signal {
    int channels, frames, producer;
    int raw = -1;
    std::vector<Variant> variants;
  };

  Value new_signal(int channels, int frames, int producer) {
    signals_.push_back({channels, frames, producer, -1, {}});
    return {static_cast<int>(signals_.size()) - 1, 0, 1};
  }

  int new_buffer(int width, int frames, bool bf16) {
    Buffer buffer;
    buffer.width = width;
    buffer.frames = frames;
    buffer.bf16 = bf16;
    program_.buffers.push_back(buffer);
    return static_cast<int>(program_.buffers.size()) - 1;
  }

  int raw_buffer(int index) {
    Signal& signal = signals_[index];
    if (signal.raw < 0) {
      signal.raw = new_buffer(signal.channels, signal.frames, false);
      if (signal.producer >= 0) program_.ops[signal.producer].raw = signal.raw;
    }
    return signal.raw;
  }

  int variant_buffer(int index, float slope, bool bf16) {
    for (const Variant& v : signals_[index].variants) {
      if (v.slope == slope && v.bf16 == bf16) return v.buffer;
    }
    const int buffer = new_buffer(signals_[index].channels, signals_[index].frames, bf16);
    const int producer = signals_[index].producer;
    if (producer >= 0 && program_.ops[producer].kind == Op::Kind::conv && program_.ops[producer].act < 0) {
      program_.ops[producer].act = buffer;
      program_.ops[producer].slope = slope;
    } else {
      Op op = map(Op::Kind::activate, producer >= 0 ? program_.ops[producer].name : "input", {index, 0, 1});
      op.act = buffer;
      op.slope = slope;
      program_.ops.push_back(std::move(op));
    }
    signals_[index].variants.push_back({slope, bf16, buffer});
    return buffer;
  }

  Reader read(Value value, int window, bool bf16) {
    if (value.column >= 0) {
      const int producer = signals_[value.signal].producer;
      throw Error((producer >= 0 ? program_.ops[producer].name : "prior") +
                  ": a part of its channels goes to another op than a convolution");
    }
    const bool plain = value.slope == 1 && !bf16;
    const int index = plain ? raw_buffer(value.signal) : variant_buffer(value.signal, value.slope, bf16);
    Buffer& buffer = program_.buffers[index];
    buffer.history = std::max(buffer.history, window + value.behind);
    return {index, value.behind};
  }

  bool comes_in_planes(int signal) const {
    const int raw = signals_[signal].raw;
    return raw >= 0 && program_.buffers[raw].planes > 1;
  }

  // An op that turns rows of `x` into as many rows.
  Op map(Op::Kind kind, const std::string& name, Value x) {
    Op op;
    op.kind = kind;
    op.name = name;
    op.a = read(x, 0, false);
    op.rows_in = op.rows_out = signals_[x.signal].frames;
    return op;
  }

  // Appends an op whose result is a new signal of these channels.
  Value append(Op op, int channels) {
    const int frames = op.rows_out;
    program_.ops.push_back(std::move(op));
    return new_signal(channels, frames, static_cast<int>(program_.ops.size()) - 1);
  }

  Value append_map(Op op, int channels) {
    const Value y = append(std::move(op), channels);
    raw_buffer(y.signal);
    return y;
  }

  // The native dot product also where weights come in slower than they are used: it is 22 % faster than widening them
  // (decode of `low`), and rounding those activations too costs 1 to 2 of some 53 dB (trained on saxophone). Not in a
  // prior, which would draw other codes.
  kernels::Format format(const graph::Tensor& weight, int run) const {
    if (weight.type == graph::Tensor::Type::f32) return kernels::f32;
    const bool native = blueprint_.kernels->isa == Isa::avx512_bf16 && run % 2 == 0 && !in_prior_;
    return native ? kernels::bf16_dot : kernels::bf16;
  }

  Value emit(const graph::Node&, const graph::Serial& serial, Value x) {
    for (const graph::Node& layer : serial.layers) x = emit(layer, x);
    return x;
  }

  Value emit(const graph::Node& node, const graph::Combine& combine, Value x) {
    std::optional<Value> total;
    for (std::size_t i = 0; i < combine.branches.size(); ++i) {
      Value y = emit(combine.branches[i], x);
      y.behind += combine.waits[i];
      total = total ? combined(node, combine.product, *total, y) : y;
    }
    return *total;
  }

  // Whether the convolution that makes `value` can still add `other` to its result before storing it.
  bool takes(Value value, Value other) const {
    const Signal& signal = signals_[value.signal];
    if (signal.producer < 0 || value.behind != 0 || value.slope != 1 || other.slope != 1) return false;
    if (signal.raw >= 0 || !signal.variants.empty()) return false;
    const Op& op = program_.ops[signal.producer];
    return op.kind == Op::Kind::conv && op.b.buffer < 0 && signals_[other.signal].producer < signal.producer;
  }

  Value combined(const graph::Node& node, bool product, Value a, Value b) {
    if (!product && takes(b, a)) std::swap(a, b);
    if (!product && takes(a, b)) {
      const Reader addend = read(b, 0, false);
      program_.ops[signals_[a.signal].producer].b = addend;
      return a;
    }
    Op op = map(product ? Op::Kind::multiply : Op::Kind::add, node.name, a);
    op.b = read(b, 0, false);
    return append_map(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Conv1d& conv, Value x) {
    const int frames = signals_[x.signal].frames;
    if (frames % conv.stride != 0) {
      throw Error(node.name + ": its stride " + std::to_string(conv.stride) + " does not divide the " +
                  std::to_string(frames) + " frames that a hop brings");
    }
    Op op;
    op.kind = Op::Kind::conv;
    op.name = node.name;
    op.rows_in = frames;
    op.rows_out = frames / conv.stride;
    op.down = op.stride = conv.stride;
    op.window = conv.history();
    const int inputs = node.in_channels / conv.groups;
    const int outputs = node.out_channels / conv.groups;
    const bool planar = comes_in_planes(x.signal);
    const int width = signals_[x.signal].channels, column = std::max(std::exchange(x.column, -1), 0);
    // without gaps between its taps a window is one run of values
    const bool dense = conv.dilation == 1 && (planar || (conv.groups == 1 && node.in_channels == width));
    kernels::Weights shape{};
    shape.taps = dense ? 1 : conv.kernel;
    shape.run = dense ? conv.kernel * inputs : inputs;
    shape.outputs = outputs;
    shape.format = format(conv.weight, inputs);
    op.tap_stride = conv.dilation * (planar ? 1 : width);
    op.a = read(x, op.window, shape.format == kernels::bf16_dot);
    for (int group = 0; group < conv.groups; ++group) {
      ConvPart part;
      part.weights = packer_.add(&conv, group, conv.groups, &conv.weight, nullptr, &conv.bias, shape, op.rows_out);
      part.x_plane = planar ? group : 0;
      part.x_column = planar ? 0 : column + group * inputs;
      part.y_column = group * outputs;
      op.parts.push_back(part);
    }
    account(op, shape, op.rows_out);
    return append(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Upsample& upsample, Value x) {
    Op op;
    op.kind = Op::Kind::conv;
    op.name = node.name;
    op.rows_in = signals_[x.signal].frames;
    op.rows_out = op.rows_in * upsample.ratio;
    op.window = upsample.taps - 1;
    op.out_step = upsample.ratio;
    kernels::Weights shape{};
    shape.taps = 1;
    shape.run = upsample.taps * node.in_channels;
    shape.outputs = upsample.ratio * node.out_channels;
    shape.format = format(upsample.weight, node.in_channels);
    op.a = read(x, op.window, shape.format == kernels::bf16_dot);
    ConvPart part;
    part.weights = packer_.add(&upsample, 0, 1, &upsample.weight, nullptr, &upsample.bias, shape, op.rows_in);
    op.parts.push_back(part);
    account(op, shape, op.rows_in);
    return append(std::move(op), node.out_channels);
  }

  void account(Op& op, const kernels::Weights& shape, int results) const {
    const double products = double(shape.outputs) * shape.taps * shape.run * double(op.parts.size());
    op.flops = 2 * products * results;
    op.weight_bytes = products * (shape.format == kernels::f32 ? 4 : 2);
  }

  Value emit(const graph::Node&, const graph::Delay& delay, Value x) {
    x.behind += delay.frames;
    return x;
  }

  Value emit(const graph::Node& node, const graph::LeakyReLU& leaky, Value x) {
    if (x.slope != 1) {
      Op op = map(Op::Kind::activate, node.name, x);
      op.slope = 1;
      x = append_map(std::move(op), node.in_channels);
    }
    x.slope = leaky.slope;
    return x;
  }

  Value emit(const graph::Node& node, const graph::Snake& snake, Value x) {
    Op op = map(Op::Kind::snake, node.name, x);
    op.vector = snake.alpha;
    return append_map(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Tanh&, Value x) {
    return append_map(map(Op::Kind::tanh, node.name, x), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Sphere&, Value x) {
    return append_map(map(Op::Kind::sphere, node.name, x), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Amplitude& amplitude, Value x) {
    Op op = map(Op::Kind::amplitude, node.name, x);
    op.offset = amplitude.offset;
    return append_map(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::GatedHalf&, Value x) {
    return append_map(map(Op::Kind::gate, node.name, x), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::GatedTanh&, Value x) {
    return append_map(map(Op::Kind::gated_tanh, node.name, x), node.out_channels);
  }

  Value emit(const graph::Node&, const graph::Part& part, Value x) {
    x.column = std::max(x.column, 0) + part.first;
    return x;
  }

  Value emit(const graph::Node& node, const graph::Repeat&, Value x) {
    return append_map(map(Op::Kind::repeat, node.name, x), node.out_channels);
  }

  int noise_source(int node, int channels) {
    program_.noises.push_back({node, channels});
    return static_cast<int>(program_.noises.size()) - 1;
  }

  Value emit(const graph::Node& node, const graph::FilteredNoise& noise, Value x) {
    Op op = map(Op::Kind::noise, node.name, x);
    op.rows_out = op.rows_in * noise.ratio;
    op.noise_bands = noise.noise_bands;
    op.ratio = noise.ratio;
    op.vector = noise.response;
    op.noise = noise_source(noise.node, noise.bands);
    op.noise_buffer = new_buffer(noise.bands, op.rows_out, false);
    const int taps = 2 * (noise.noise_bands - 1);
    program_.buffers[op.noise_buffer].history = taps - 1;
    op.flops = 2.0 * noise.bands * taps * (op.rows_out + double(op.rows_in) * noise.noise_bands);
    return append_map(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Variational& latent, Value x) {
    Op op = map(Op::Kind::latent, node.name, x);
    op.kept = latent.kept;
    op.size = latent.size;
    op.noise = noise_source(latent.node, latent.size);
    kernels::Weights shape{};
    shape.taps = 1;
    shape.run = latent.size;
    shape.outputs = latent.size;
    shape.format = kernels::f32;
    ConvPart part;
    part.weights = packer_.add(&latent, 0, 1, nullptr, &latent.rotation, nullptr, shape, 1);
    op.parts.push_back(part);
    return append_map(std::move(op), node.out_channels);
  }

  Value emit(const graph::Node& node, const graph::Fill& fill, Value x) {
    Op op = map(Op::Kind::fill, node.name, x);
    op.kept = fill.kept;
    op.size = fill.size;
    op.noise = noise_source(fill.node, std::max(fill.size - fill.kept, 0));
    program_.shapes_latents = true;
    return append_map(std::move(op), node.out_channels);
  }

  // An op a quantiser, so that a slice need not do them all: rows of the numbers so far, then what is left over.
  Value emit(const graph::Node& node, const graph::Quantise& quantise, Value x) {
    const int size = node.in_channels;
    for (int i = 0; i < quantise.quantisers; ++i) {
      Op op = map(Op::Kind::quantise, node.name + "." + std::to_string(i), x);
      op.size = size;
      op.quantiser = i;
      op.codes = quantise.codes;
      op.table = packer_.keep(&quantise, quantise.codebook);
      kernels::Weights shape{};
      shape.taps = 1;
      shape.run = size;
      shape.outputs = quantise.codes;
      shape.format = kernels::f32;
      ConvPart part;
      part.weights = packer_.add(&quantise, i, quantise.quantisers, nullptr, &quantise.codebook, &quantise.bias, shape,
                                 op.rows_out);
      op.parts.push_back(part);
      account(op, shape, op.rows_out);
      const bool last = i + 1 == quantise.quantisers;
      x = append_map(std::move(op), i + 1 + (last ? 0 : size));
    }
    return x;
  }

  Value emit(const graph::Node& node, const graph::Codebook& codebook, Value x) {
    Op op = looked_up(node, codebook, x);
    op.scaled = op.hooked = true;
    program_.shapes_latents = true;
    return append_map(std::move(op), node.out_channels);
  }

  Op looked_up(const graph::Node& node, const graph::Codebook& codebook, Value x) {
    Op op = map(Op::Kind::codebook, node.name, x);
    op.size = node.out_channels;
    op.codes = codebook.codes;
    op.table = packer_.keep(&codebook, codebook.codebook);
    op.vector = codebook.offset;
    op.flops = double(codebook.quantisers) * op.size * op.rows_out;
    op.weight_bytes = 4.0 * codebook.quantisers * op.size;
    return op;
  }

  Value hear(const graph::Prior& prior, Value x, int noise) {
    Op op = map(Op::Kind::hear, "prior.hear", x);
    op.codes = prior.codes;
    op.quantisers = prior.quantisers;
    op.noise = noise;
    return append_map(std::move(op), prior.quantisers);
  }

  struct Draws {
    int pattern, given, noise;
  };

  Value draw(const graph::Prior& prior, Value logits, const Draws& draws, std::optional<Value> heard,
             std::optional<Value> warmth) {
    constexpr double kFlopsOfExp = 20;
    Op op = map(Op::Kind::draw, "prior.draw", logits);
    if (heard) op.b = read(*heard, prior.quantisers - 1, false);
    if (warmth) op.warmth = read(*warmth, 0, false);
    op.codes = prior.codes;
    op.quantisers = prior.quantisers;
    op.noise = draws.noise;
    op.raw = raw_buffer(draws.pattern);
    op.act = new_buffer(draws.given, 1, false);
    op.flops = kFlopsOfExp * prior.quantisers * prior.codes;
    Buffer& rows = program_.buffers[op.raw];
    rows.history = std::max(rows.history, prior.quantisers - 1);
    const int frame = op.act;
    const Value y = append(std::move(op), draws.given);
    signals_[y.signal].raw = frame;
    return y;
  }

  Value emit(const graph::Node& node, const graph::Condition& condition, Value x) {
    Op op = map(Op::Kind::condition, node.name, x);
    op.size = node.out_channels;
    op.table = packer_.keep(&condition, condition.table);
    op.flops = double(op.size) * (op.rows_out + 2.0 * condition.labels);
    op.weight_bytes = 4.0 * condition.labels * op.size;
    return append_map(std::move(op), node.out_channels);
  }

  const Blueprint& blueprint_;
  Packer& packer_;
  Program& program_;
  std::vector<Signal> signals_;
  bool in_prior_ = false;
};

// A filter bank reads every audio channel by itself: then channels come as planes.
bool reads_planes(const graph::Node& node) {
  if (const auto* serial = std::get_if<graph::Serial>(&node.op)) {
    return !serial->layers.empty() && reads_planes(serial->layers.front());
  }
  const auto* conv = std::get_if<graph::Conv1d>(&node.op);
  return conv != nullptr && conv->groups == node.in_channels;
}

Program compile(const graph::Graph& graph, Method method, const Blueprint& blueprint, Packer& packer) {
  Program program;
  Compiler compiler(blueprint, packer, program);
  if (method == Method::prior) {
    if (!graph.prior) return program;
    const Value warmth = compiler.input(1, 1, false);
    compiler.output(compiler.prior(*graph.prior, graph.completion, std::nullopt, warmth));
    return program;
  }
  Value x;
  if (method == Method::decode) {
    x = compiler.input(graph.completion.in_channels, 1, false);
  } else {
    x = compiler.input(graph.info.channels, graph.info.hop_samples, reads_planes(graph.front));
    x = compiler.emit(graph.front, x);
    x = compiler.emit(graph.latent, x);
  }
  if (method != Method::encode) {
    std::optional<Value> alone;
    if (graph.prior) alone = compiler.prior(*graph.prior, graph.completion, x, std::nullopt);
    x = compiler.complete(graph.completion, x, alone);
    x = compiler.emit(graph.back, x);
  }
  compiler.output(x);
  return program;
}

}  // namespace

std::unique_ptr<const Blueprint> compile(const graph::Graph& graph, const kernels::Table& table) {
  auto blueprint = std::make_unique<Blueprint>();
  blueprint->kernels = &table;
  Packer packer(*blueprint);
  for (const Method method : kEveryMethod) {
    blueprint->programs[static_cast<std::size_t>(method)] = compile(graph, method, *blueprint, packer);
  }
  packer.pack();
  return blueprint;
}

}  // namespace ravel::engine
