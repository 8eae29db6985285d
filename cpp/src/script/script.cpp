// TorchScript of the nn~ protocol through libtorch: the only source that includes it.
//
// Every engine has a copy of the module. The parameters are shared; other tensors are its own, since scripts write into
// their buffers (cached convolutions). Ravel's own never do, so that all of its tensors are shared: after folding most
// weights are no parameters any more, 126 MB of `v2`. The profiling executor is off: it
// compiles at the first two calls and again whenever shapes or branches change, 150 ms each time for `low`; without it
// the first call of `low` takes 20 ms, and every later one as long as with it.
#include "script/script.h"

#include <ATen/Parallel.h>
#include <caffe2/serialize/in_memory_adapter.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "kernels/kernels.h"
#include "model/attributes.h"
#include "model/card.h"
#include "model/text.h"

namespace ravel {

bool plays_scripts() noexcept { return true; }

namespace script {
namespace {

using torch::jit::Module;

constexpr const char* kCard = "ravel.json";
constexpr int kLeastCallSamples =
    1024;  // `low` on one core: 97 % of the time in calls of 128, 27 % of 512, 21 % of 1024
constexpr int kMostCallHops = 65536;
constexpr int kWarmCalls = 3;

void require(bool sound, const std::string& message) {
  if (!sound) throw Error(message);
}

// What a thread has to be while it runs torch: no gradients, no profiling, one core, since audio comes in small calls.
class Session {
 public:
  enum class Threads { put_back, keep_one };  // afterwards: as the caller's thread was; for a thread that comes again

  explicit Session(Threads threads) : before_(at::get_num_threads()), put_back_(threads == Threads::put_back) {
    if (before_ != 1) at::set_num_threads(1);
  }
  ~Session() {
    if (put_back_ && before_ != 1) at::set_num_threads(before_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  const int before_;
  const bool put_back_;
  const c10::InferenceMode no_gradients_{true};
  const torch::jit::GraphOptimizerEnabledGuard no_profiling_{false};
  const engine::FlushDenormals flush_{kernels::table(best_isa())};
};

// The last line of what torch says; before it come its own sources and those of the script.
std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "an error without a text";
  const std::size_t begin = text.find_last_of('\n', end);
  const std::size_t from = begin == std::string::npos ? 0 : begin + 1;
  std::string line = text.substr(from, end + 1 - from);
  for (char& c : line) {
    if (c < ' ' || c > '~') c = '?';
  }
  return line.substr(0, 300);
}

// Runs `work`; what libtorch throws becomes an Error that begins with `where`.
template <class Work>
auto within(const std::string& where, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& error) {
    throw Error(where + ": " + last_line(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    throw Error(where + ": " + last_line(error.what()));
  }
}

// ---- what a module says about itself

std::vector<std::string> strings(Module& module, const char* method) {
  std::vector<std::string> all;
  if (!module.find_method(method)) return all;
  const c10::IValue list = module.get_method(method)({});
  require(list.isList(), std::string(method) + "() gives no list");
  for (const c10::IValue& one : list.toListRef()) all.push_back(one.toStringRef());
  return all;
}

// The buffer NAME_params, or nothing.
std::optional<std::vector<std::int64_t>> params(const Module& module, const std::string& name) {
  const std::string key = name + "_params";
  if (!module.hasattr(key) || !module.attr(key).isTensor()) return std::nullopt;
  const at::Tensor values = module.attr(key).toTensor().to(at::kLong).contiguous().flatten();
  return std::vector<std::int64_t>(values.data_ptr<std::int64_t>(), values.data_ptr<std::int64_t>() + values.numel());
}

std::optional<MethodInfo> method_info(const Module& module, const std::string& name) {
  const auto values = params(module, name);
  if (!values || !module.find_method(name)) return std::nullopt;
  require(values->size() == 4, name + "_params: expects 4 numbers, has " + std::to_string(values->size()));
  const auto bounded = [&](std::size_t i, int most) {
    const std::int64_t value = (*values)[i];
    require(value >= 1 && value <= most,
            name + "_params: expects numbers from 1 to " + std::to_string(most) + ", got " + std::to_string(value));
    return static_cast<int>(value);
  };
  return MethodInfo{bounded(0, kMaxChannels), bounded(1, kMaxHopSamples), bounded(2, kMaxChannels),
                    bounded(3, kMaxHopSamples), 0};
}

void append(const c10::IValue& from, Values& to) {
  if (from.isBool()) {
    to.emplace_back(from.toBool());
  } else if (from.isInt()) {
    to.emplace_back(from.toInt());
  } else if (from.isDouble()) {
    to.emplace_back(from.toDouble());
  } else if (from.isString()) {
    to.emplace_back(from.toStringRef());
  } else if (from.isTuple()) {
    for (const c10::IValue& one : from.toTupleRef().elements()) append(one, to);
  } else if (from.isList()) {
    for (const c10::IValue& one : from.toListRef()) append(one, to);
  } else if (from.isTensor() && from.toTensor().numel() == 1) {
    to.emplace_back(from.toTensor().item().toDouble());
  }
}

c10::IValue to_ivalue(const Value& value) {
  return std::visit([](const auto& one) { return c10::IValue(one); }, value);
}

Values value_of(Module& module, const std::string& attribute) {
  const std::string getter = "get_" + attribute;
  Values values;
  if (module.find_method(getter)) append(module.get_method(getter)({}), values);
  return values;
}

std::vector<AttributeInfo> attributes_of(Module& module) {
  std::vector<AttributeInfo> all;
  for (const std::string& name : strings(module, "get_attributes")) {
    if (!module.find_method("set_" + name)) continue;
    AttributeInfo about{name, {}, value_of(module, name)};
    for (const std::int64_t code : params(module, name).value_or(std::vector<std::int64_t>{})) {
      about.types.push_back(code >= 0 && code <= 3 ? static_cast<ValueType>(code) : ValueType::other);
    }
    all.push_back(std::move(about));
  }
  return all;
}

// Where the script tells: get_sample_rate(), or an attribute by one of its usual names.
int sample_rate_of(Module& module) {
  double rate = 0;
  const auto read = [&](const c10::IValue& value) {
    if (value.isInt()) rate = static_cast<double>(value.toInt());
    if (value.isDouble()) rate = value.toDouble();
    if (value.isTensor() && value.toTensor().numel() == 1) rate = value.toTensor().item().toDouble();
  };
  if (module.find_method("get_sample_rate")) read(module.get_method("get_sample_rate")({}));
  for (const char* name : {"sr", "sampling_rate", "sample_rate"}) {
    if (rate == 0 && module.hasattr(name)) read(module.attr(name));
  }
  return rate >= 4000 && rate <= 768000 ? static_cast<int>(std::lround(rate)) : 0;
}

std::string listed(const std::vector<std::string>& names) {
  std::string line;
  for (const std::string& name : names) line += (line.empty() ? "" : ", ") + printable(name);
  return line;
}

// What a stranger's script says, where a card is missing.
void describe(Module& module, Info& info) {
  std::vector<std::string> names = strings(module, "get_methods");
  for (const Method method : {Method::forward, Method::encode, Method::decode}) {
    const bool told = std::find(names.begin(), names.end(), name(method)) != names.end();
    const auto about = method_info(module, name(method));
    if (about && !told) names.emplace_back(name(method));
    if (about) info.methods[static_cast<std::size_t>(method)] = *about;
  }
  require(!names.empty(),
          "is TorchScript without methods for a player: nn~ wants a buffer forward_params (or that of "
          "another method) of four numbers beside each");
  info.hop_samples = 1;
  for (const MethodInfo& about : info.methods) {
    info.hop_samples = std::max({info.hop_samples, about.in_ratio, about.out_ratio});
  }
  // a player knows sound to sound, sound to latents and back, and latents to latents; anything else is left to other hosts
  constexpr const char* kSides[] = {"latents", "sound"};
  std::string odd;
  for (const Method method : kEveryMethod) {
    MethodInfo& about = info.methods[static_cast<std::size_t>(method)];
    const int in = takes_audio(method) ? 1 : info.hop_samples, out = gives_audio(method) ? 1 : info.hop_samples;
    if (about.in_channels == 0 || (about.in_ratio == in && about.out_ratio == out)) continue;
    odd += std::string("; its ") + name(method) + " is no " + kSides[takes_audio(method)] + " to " +
           kSides[gives_audio(method)];
    about = {};
  }
  const auto& [forward, encode, decode, prior] = info.methods;
  const bool any = forward.in_channels || encode.in_channels || decode.in_channels;
  require(any, "has the methods " + listed(names) + ", and none that a player plays (forward, encode, decode)" + odd);
  info.channels = forward.in_channels  ? forward.in_channels
                  : encode.in_channels ? encode.in_channels
                                       : decode.out_channels;
  info.latents = info.latent_size = encode.in_channels ? encode.out_channels : decode.in_channels;
  info.sample_rate_hz = sample_rate_of(module);
}

// ---- modules and their calls

at::Tensor call(Module& module, Method method, const at::Tensor& x, const MethodInfo& info) {
  const std::int64_t frames = x.size(2) * info.in_ratio / info.out_ratio;
  const c10::IValue result = module.get_method(name(method))({x});
  require(result.isTensor(), std::string(name(method)) + " gives no tensor");
  const at::Tensor& y = result.toTensor();
  require(y.dim() == 3 && y.size(0) == x.size(0) && y.size(1) == info.out_channels && y.size(2) == frames,
          std::string(name(method)) + " gives a tensor of shape " + c10::str(y.sizes()) + ", expects [" +
              std::to_string(x.size(0)) + ", " + std::to_string(info.out_channels) + ", " + std::to_string(frames) +
              "]");
  return y.to(at::kCPU, at::kFloat).contiguous();
}

at::Tensor random_input(const MethodInfo& info, int samples) {
  return 0.1 * at::randn({1, info.in_channels, samples / info.in_ratio});
}

class PutBackRandom {
 public:
  PutBackRandom() : generator_(at::detail::getDefaultCPUGenerator()), state_(generator_.get_state()) {}
  ~PutBackRandom() { generator_.set_state(state_); }
  PutBackRandom(const PutBackRandom&) = delete;
  PutBackRandom& operator=(const PutBackRandom&) = delete;
  void seed() { generator_.set_current_seed(0); }

 private:
  at::Generator generator_;
  at::Tensor state_;
};

}  // namespace

class Script {
 public:
  Module copy() const {
    c10::IValue::HashIdentityIValueMap same;
    for (const at::Tensor& one : module.parameters()) same.emplace(one, one);
    if (card) {
      for (const at::Tensor& one : module.buffers()) same.emplace(one, one);
    }
    return Module(module._ivalue()->deepcopy(same));
  }

  Module module;                 // as loaded: copied, and never run
  bool card = false;             // Ravel's own
  bool through_latents = false;  // forward is encode and decode in turn
};

namespace {

// Runs every method, so that the first call of a player finds the script compiled. True: forward is encode, then decode.
bool warm_up(const Script& script, const Info& info) {
  PutBackRandom random;
  const auto& [forward, encode, decode, prior] = info.methods;
  const int samples = info.hop_samples * info.call_hops;
  for (const Method method : {Method::encode, Method::decode, Method::prior}) {
    const MethodInfo& about = info.method(method);
    if (!about.in_channels) continue;
    Module module = script.copy();
    call(module, method, random_input(about, samples), about);
  }
  if (!forward.in_channels) return false;
  const bool comparable = encode.in_channels == forward.in_channels && encode.out_channels == decode.in_channels &&
                          decode.out_channels == forward.out_channels && encode.in_channels > 0;
  Module whole = script.copy(), parts = script.copy();
  std::vector<at::Tensor> x, y, z;
  for (int i = 0; i < kWarmCalls; ++i) x.push_back(random_input(forward, samples));
  random.seed();
  for (const at::Tensor& block : x) y.push_back(call(whole, Method::forward, block, forward));
  if (!comparable) return false;
  random.seed();
  for (const at::Tensor& block : x) {
    z.push_back(call(parts, Method::decode, call(parts, Method::encode, block, encode), decode));
  }
  const at::Tensor wanted = at::cat(y, 2), got = at::cat(z, 2);
  return (wanted - got).abs().max().item<float>() <= 1e-4f * wanted.abs().max().item<float>();
}

void read_module(Script& script, const std::byte* bytes, std::size_t size, Info& info) {
  torch::jit::ExtraFilesMap extra{{kCard, ""}};
  auto reader = std::make_shared<caffe2::serialize::MemoryReadAdapter>(bytes, static_cast<off_t>(size));
  within("is a zip archive but no TorchScript that this build reads", [&] {
    script.module = torch::jit::load(reader, c10::Device(at::kCPU), extra);
    script.module.eval();
  });
  script.card = !extra[kCard].empty();
  if (script.card) info = read_script_card(extra[kCard]);
}

}  // namespace

std::shared_ptr<const Script> load(const std::byte* bytes, std::size_t size, Info& info) {
  const Session session(Session::Threads::put_back);
  auto script = std::make_shared<Script>();
  read_module(*script, bytes, size, info);
  within("the script does not follow nn~'s protocol", [&] {
    Module asked = script->copy();
    if (!script->card) describe(asked, info);
    info.attributes = attributes_of(asked);
  });
  info.script = true;
  info.call_hops = (kLeastCallSamples + info.hop_samples - 1) / info.hop_samples;
  for (const AttributeInfo& one : info.attributes) {
    if (one.name != "temperature" || one.initial.size() != 1) continue;
    if (const double* value = std::get_if<double>(&one.initial[0])) info.temperature = static_cast<float>(*value);
  }
  const bool parted = within("the script fails in its first calls", [&] { return warm_up(*script, info); });
  script->through_latents = parted && info.quantisers == 0;
  if (info.quantisers > 0) info.remark = "the latents of a discrete model move in its .ravel, not in its TorchScript";
  if (!script->card) {
    info.remark = "this TorchScript does not say how late its network is: the latency leaves that out";
    if (info.sample_rate_hz == 0) info.remark += "; nor its sample rate: it plays at that of the host";
    if (info.method(Method::forward).in_channels && info.latents > 0 && !script->through_latents)
      info.remark += "; its forward can't be parted, so that latents are out of reach there";
  }
  return script;
}

std::size_t weight_bytes(const Script& script) noexcept {
  std::size_t bytes = 0;
  for (const at::Tensor& one : script.module.parameters()) bytes += one.nbytes();
  for (const at::Tensor& one : script.module.buffers()) bytes += one.nbytes();
  return bytes;
}

namespace {

class Playing final : public engine::Running {
 public:
  Playing(std::shared_ptr<const Model> model_, Method method_, const Settings& settings_)
      : Running(std::move(model_), method_, settings_),
        script_(*model->script()),
        info_(model->info()),
        about_(info_.method(method_)) {
    require(about_.in_channels > 0, info_.name + " has no method " + name(method_) + ": there is" + known_methods());
    require(settings.slices == 0, "engine: TorchScript can't be sliced, settings.slices has to be 0");
    require(settings.streams >= 1 && settings.max_hops >= 1 && settings.max_hops <= kMostCallHops,
            "engine: streams and max_hops begin at 1");
    in_frames = info_.hop_samples / about_.in_ratio;
    out_frames = info_.hop_samples / about_.out_ratio;
    controls_.temperature = applied_.temperature = info_.temperature;
    for (engine::Controls* one : {&controls_, &applied_}) {
      one->scale.assign(static_cast<std::size_t>(info_.latents), 1.0f);
      one->bias.assign(static_cast<std::size_t>(info_.latents), 0.0f);
    }
    row_.resize(static_cast<std::size_t>(info_.latents));
    const Session session(Session::Threads::put_back);
    module_ = within(info_.name, [&] { return script_.copy(); });
  }

  engine::Controls& controls() noexcept override { return controls_; }

  std::size_t history_bytes() const noexcept override {
    std::size_t bytes = 0;
    c10::IValue(module_._ivalue()).visit([&](const c10::IValue& one) {
      if (one.isTensor()) bytes += one.toTensor().nbytes();
      return false;
    });
    const std::size_t shared = weight_bytes(script_);
    return bytes > shared ? bytes - shared : 0;
  }

  void process(const float* const* in, float* const* out, int hops) noexcept override {
    std::string error;
    try {
      const Session session(Session::Threads::keep_one);
      within(name(method), [&] { give(run(take(in, hops)), out); });
      failed_.clear();
      return;
    } catch (const std::exception& caught) {
      error = caught.what();
    } catch (...) {
      error = "the script failed";
    }
    for (int i = 0; i < settings.streams * about_.out_channels; ++i) std::fill_n(out[i], hops * out_frames, 0.0f);
    if (error == failed_) return;  // a script that fails does so at every call
    failed_ = error;
    say(info_.name + ": silent, since " + error);
  }

  // Ravel's own keep their attributes through a reset; of others everything is put back, then set as it was.
  void reset() noexcept override {
    try {
      const Session session(Session::Threads::put_back);
      within("reset", [&] {
        if (script_.card && module_.find_method("reset")) {
          module_.get_method("reset")({});
          return;
        }
        module_ = script_.copy();
        for (const auto& [name, values] : done_) set_in_module(name, values);
      });
    } catch (const std::exception& error) {
      say(info_.name + ": " + error.what());
    }
  }

  void set_attribute(const std::string& name, const Values& values) override {
    const Session session(Session::Threads::put_back);
    set_in_module(name, values);
    remember(name, values);
  }

  Values attribute(const std::string& name) override {
    const Session session(Session::Threads::put_back);
    return within("get " + name, [&] { return value_of(module_, name); });
  }

 private:
  std::string known_methods() const {
    std::string line;
    for (const Method one : kEveryMethod) {
      if (info_.method(one).in_channels) line += std::string(line.empty() ? " " : ", ") + ravel::name(one);
    }
    return line;
  }

  void say(const std::string& text) noexcept {
    if (messages.say) messages.say(messages.self, text.c_str());
  }

  void set_in_module(const std::string& name, const Values& values) {
    within("set " + name + " " + text_of(values), [&] {
      std::vector<c10::IValue> arguments;
      std::transform(values.begin(), values.end(), std::back_inserter(arguments), to_ivalue);
      const c10::IValue answer = module_.get_method("set_" + name)(arguments);
      const bool refused = (answer.isInt() && answer.toInt() != 0) || (answer.isBool() && !answer.toBool());
      if (refused) throw Error("attribute " + name + ": the model refuses " + text_of(values));
    });
  }

  // For a reset.
  void remember(const std::string& name, const Values& values) {
    std::erase_if(done_, [&](const auto& call) { return call.first == name && replaces(values, call.second); });
    done_.emplace_back(name, values);
  }

  // The player's controls, where the script has an attribute of that name and type.
  template <class T>
  void follow(const char* name, const T& wanted, T& applied, const Values& values) {
    if (wanted == applied) return;
    applied = wanted;
    for (const AttributeInfo& one : info_.attributes) {
      if (one.name != name || one.types.size() != values.size()) continue;
      set_attribute(one.name, fitted(one, values));
    }
  }

  void follow_controls() {
    follow("temperature", controls_.temperature, applied_.temperature, {double(controls_.temperature)});
    follow("fill", controls_.fill, applied_.fill, {double(controls_.fill)});
    follow("noise", controls_.noise, applied_.noise, {controls_.noise});
    follow("seed", controls_.seed, applied_.seed, {controls_.seed});
    follow("prior_temperature", controls_.prior_temperature, applied_.prior_temperature,
           {double(controls_.prior_temperature)});
    for (std::size_t i = 0; i < applied_.scale.size(); ++i) {
      const auto latent = static_cast<std::int64_t>(i);
      follow("scale", controls_.scale[i], applied_.scale[i], {latent, double(controls_.scale[i])});
      follow("bias", controls_.bias[i], applied_.bias[i], {latent, double(controls_.bias[i])});
    }
  }

  // A tensor of its own for every call: a script may keep views of what it was given.
  at::Tensor take(const float* const* in, int hops) {
    follow_controls();
    const std::int64_t frames = std::int64_t{hops} * in_frames;
    at::Tensor x = at::empty({settings.streams, about_.in_channels, frames});
    float* to = x.data_ptr<float>();
    for (int i = 0; i < settings.streams * about_.in_channels; ++i, to += frames) {
      std::transform(in[i], in[i] + frames, to, [](float v) { return std::isfinite(v) ? v : 0.0f; });
    }
    return x;
  }

  at::Tensor run(const at::Tensor& x) {
    if (method == Method::decode) shape(x);
    if (method == Method::forward && script_.through_latents) {
      const at::Tensor z = call(module_, Method::encode, x, info_.method(Method::encode)).clone();
      shape(z);
      return call(module_, Method::decode, z, info_.method(Method::decode));
    }
    at::Tensor y = call(module_, method, x, about_);
    if (method != Method::encode) return y;
    y = y.clone();  // the script may have kept it
    shape(y);
    return y;
  }

  // Every frame of (streams, latents, frames) through the hook, in place.
  void shape(const at::Tensor& z) {
    if (!controls_.hook.edit || info_.quantisers > 0) return;  // a number of a code bends into any other sound
    const std::int64_t latents = z.size(1), frames = z.size(2);
    float* values = z.data_ptr<float>();
    for (std::int64_t frame = 0; frame < frames; ++frame) {
      for (int stream = 0; stream < settings.streams; ++stream) {
        float* at = values + stream * latents * frames + frame;
        for (std::int64_t i = 0; i < latents; ++i) row_[static_cast<std::size_t>(i)] = at[i * frames];
        controls_.hook.edit(controls_.hook.self, row_.data(), static_cast<int>(latents), stream);
        for (std::int64_t i = 0; i < latents; ++i) at[i * frames] = row_[static_cast<std::size_t>(i)];
      }
    }
  }

  void give(const at::Tensor& y, float* const* out) const {
    const std::int64_t frames = y.size(2);
    const float* from = y.data_ptr<float>();
    for (int i = 0; i < settings.streams * about_.out_channels; ++i, from += frames) std::copy_n(from, frames, out[i]);
  }

  const Script& script_;  // of the model that this holds
  const Info& info_;
  const MethodInfo about_;
  Module module_;
  engine::Controls controls_, applied_;
  std::vector<std::pair<std::string, Values>> done_;  // attributes, as they were set
  std::vector<float> row_;                            // a latent frame
  std::string failed_;                                // by what, at the last call
};

}  // namespace

std::unique_ptr<engine::Running> run(const std::shared_ptr<const Model>& model, Method method,
                                     const Settings& settings) {
  return std::make_unique<Playing>(model, method, settings);
}

}  // namespace script
}  // namespace ravel
