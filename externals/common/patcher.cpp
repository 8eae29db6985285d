// The messages of the Pure Data and Max objects, over the player.
#include "patcher.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace ravel::patcher {
namespace {

constexpr int kPatience = 20;  // polls: 0.1 to 0.2 s, time for a fade in the longest vectors
constexpr int kLatents = 8;    // signals of `encode` and `decode` where no model tells

const AttributeInfo* script_attribute(const std::string& name, const Model* model) {
  if (!model) return nullptr;
  const auto& all = model->info().attributes;
  const auto found = std::find_if(all.begin(), all.end(), [&](const AttributeInfo& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// An object of its own hears its own noise; the first one equals Python's default.
std::atomic<long long> objects{0};

}  // namespace

Remote::Remote(Shell& shell, std::span<const std::byte> built_in) noexcept
    : shell_(shell), built_in_(built_in), seed_(objects++) {
  player_.set_seed(seed_);
}

void Remote::start(const Arguments& arguments) {
  starting_ = true;
  player_.set_method(arguments.method);
  inputs_ = arguments.method == Method::decode ? kLatents : 1;
  outputs_ = gives_audio(arguments.method) ? 1 : kLatents;
  try {
    if (!arguments.model.empty()) {
      load(arguments.model, true);
    } else if (!built_in_.empty()) {
      player_.load(built_in_model(built_in_));
    }
  } catch (const std::exception& error) {
    complain(error.what());
  }
  const auto model = player_.model();
  if (const MethodInfo about = model ? model->info().method(arguments.method) : MethodInfo(); about.in_channels > 0) {
    inputs_ = about.in_channels;
    outputs_ = about.out_channels;
  }
  if (arguments.inputs) inputs_ = arguments.inputs;
  if (arguments.outputs) outputs_ = arguments.outputs;
  for (const std::vector<Atom>& flag : arguments.messages) message(flag[0].word, Atoms(flag).subspan(1));
  starting_ = false;
}

std::string Remote::find(const std::string& name) {
  const auto search = [this](const std::string& file) { return shell_.find(file); };
  std::string path = find_model(name, search);
  if (path.ends_with(".ts") && !plays_scripts()) {
    const std::string other = search(beside(path));
    if (other.empty())
      throw Error(path +
                  " is TorchScript, which this build can't play: export the model again, for a .ravel beside it");
    path = other;
  }
  if (name.ends_with(".ts") && !path.ends_with(".ts")) shell_.print("plays " + path + " in place of the .ts");
  return path;
}

void Remote::load(const std::string& name, bool wait) {
  name_ = name;
  const std::string path = find(name);
  before_ = player_.model();
  player_.load(path, wait);
  waiting_ = true;
  if (wait) poll();
}

bool Remote::poll() {
  if (waiting_ && !player_.loading()) {
    waiting_ = false;
    const std::string said = player_.take_message();
    load_due_ = player_.model() && (said.empty() || player_.model() != before_);
    before_ = nullptr;
    script_ = player_.model() && player_.model()->info().script;
    if (load_due_) compare_signals();
    // The new model is later, or the one before could not play: the latency is told when it holds.
    if (player_.wants_prepare() || (load_due_ && hosted_ && !prepared_)) {
      change();
    } else {
      latency_due_ |= load_due_;
      hear_player(said);
    }
  } else if (script_ && !waiting_) {
    hear_player(player_.take_message());
  }
  if (rest_.asked() && (rest_.quiet() || --patience_ <= 0)) prepare_now(host_);
  if (starting_) return true;
  if (load_due_) shell_.answer("load", std::array<Atom, 1>{player_.path().c_str()});
  if (!error_due_.empty()) shell_.answer("error", std::array<Atom, 1>{error_due_});
  if (latency_due_ && prepared_) answer_latency();
  load_due_ = false;
  latency_due_ &= !prepared_;
  error_due_.clear();
  return wants_poll();
}

// What is no more than good to know is no complaint.
void Remote::hear_player(const std::string& said) {
  if (said.empty()) return;
  const auto model = player_.model();
  const std::string remark = model ? model->info().remark : "";
  !remark.empty() && said.ends_with(remark) ? shell_.print(said) : complain(said);
}

// An object keeps the inlets and outlets it was made with.
void Remote::compare_signals() {
  if (starting_) return;
  const Method method = player_.method();
  const MethodInfo& needs = player_.model()->info().method(method);
  if (needs.in_channels > 0 && ((method == Method::decode && needs.in_channels != inputs_) ||
                                (!gives_audio(method) && needs.out_channels != outputs_)))
    shell_.print(std::string("has ") + std::to_string(needs.in_channels) + " in and " +
                 std::to_string(needs.out_channels) + " out now, this object " + std::to_string(inputs_) + " and " +
                 std::to_string(outputs_) + ": for all of them, make the object ravel~ " + name_ + " " + name(method));
}

void Remote::complain(const std::string& line) {
  shell_.complain(line);
  if (starting_) {
    error_due_ = line;
  } else {
    shell_.answer("error", std::array<Atom, 1>{line});
  }
}

void Remote::prepare(const Host& host) {
  const bool same_host = prepared_ && host.sample_rate_hz == host_.sample_rate_hz &&
                         host.max_block == host_.max_block && host.fixed_block == host_.fixed_block &&
                         host.in_channels == host_.in_channels && host.out_channels == host_.out_channels &&
                         host.offline == host_.offline;
  if (same_host && !player_.wants_prepare()) return;
  prepare_now(host);
}

void Remote::change() {
  if (!hosted_) return;
  if (!prepared_ || !rest_.played() || offline_) return prepare_now(host_);
  patience_ = kPatience;
  rest_.ask();
}

void Remote::prepare_now(const Host& host) {
  rest_.change(host.sample_rate_hz, enabled_ && !rest_.asked(), [&] {
    host_ = host;
    hosted_ = true;
    try {
      Host now = host;
      now.offline |= offline_.load();
      player_.prepare(now);
      prepared_ = latency_due_ = true;
    } catch (const std::exception& error) {
      prepared_ = false;
      complain(error.what());
    }
  });
}

void Remote::process(std::span<const float* const> in, std::span<float* const> out, int frames) noexcept {
  const auto silence = [&] {
    for (float* channel : out) std::fill_n(channel, frames, 0.0F);
  };
  if (!rest_.enter()) return silence();
  const bool fits =
      static_cast<int>(in.size()) == host_.in_channels && static_cast<int>(out.size()) == host_.out_channels;
  if (!prepared_ || !fits) {
    silence();
    rest_.skip();
  } else if (const Rest::Next next = rest_.next(enabled_.load(std::memory_order_relaxed)); next == Rest::Next::silent) {
    silence();
  } else {
    if (next == Rest::Next::begins) {
      player_.request_reset();
      rest_.begin(player_.latency_samples());
    }
    player_.process(in.data(), out.data(), frames);
    rest_.fade(out, frames);
  }
  rest_.leave();
}

bool Remote::message(const char* word, Atoms atoms) noexcept {
  try {
    if (!word_from(word)) return false;
    run({word, atoms});
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return true;
}

void Remote::run(const Call& call) {
  if (run_control(call) || run_latent(call) || run_answer(call)) return;
  if (call.is("mode")) return set_mode(call);
  if (call.is("label")) return label(call);
  if (call.is("method")) return set_method(call);
  if (call.is("set")) {
    call.expect(1, call.atoms.size());
    if (call.is(call.name(0)) || !word_from(call.name(0))) {
      if (set_script_attribute(call)) return;
      throw Error(std::string("no attribute '") + call.name(0) + "': `dump` lists them");
    }
    return run({call.name(0), call.atoms.subspan(1)});
  }
  if (call.is("load")) {
    call.expect(1, 1);
    return load(text(call.atoms[0]), offline_);
  }
  if (call.is("reload")) {
    call.expect(0, 0);
    if (name_.empty()) throw Error("reload: no model was asked for yet");
    return load(std::string(name_), offline_);
  }
}

bool Remote::run_control(const Call& call) {
  if (call.is("morph")) return morph(call), true;
  if (const auto control = control_from(call.word)) {
    call.expect(1, 1);
    return set_control(*control, call.number(0)), true;
  }
  if (const auto which = switch_from(call.word)) return player_.set(*which, call.flag()), true;
  if (call.is("gain")) {
    call.expect(1, 2);
    const bool before = call.atoms.size() == 2 && same(call.name(0), "in");
    if (call.atoms.size() == 2 && !before && !same(call.name(0), "out")) call.refuse();
    set_control(before ? Control::input_gain_db : Control::output_gain_db, call.number(call.atoms.size() - 1));
  } else if (call.is("enable")) {
    enabled_ = call.flag();
  } else if (call.is("seed")) {
    call.expect(1, 1);
    seed_ = static_cast<long long>(std::clamp(call.number(0), -9e15, 9e15));
    player_.set_seed(seed_);
  } else if (call.is("offline")) {
    offline_ = call.atoms.empty() || call.flag();
    player_.set_offline(offline_);
  } else if (call.is("reset")) {
    call.expect(0, 1);  // nn~ sends a value to everything: `set reset 1`
    player_.request_reset();
  } else {
    return false;
  }
  return true;
}

void Remote::set_control(Control control, double value) {
  const ControlInfo& about = ravel::info(control);
  const double kept = std::clamp(value, static_cast<double>(about.minimum), static_cast<double>(about.maximum));
  player_.set(control, static_cast<float>(kept));
  if (kept != value)
    throw Error(std::string(about.name) + " " + text(value) + ": plays at " + text(kept) + ", it goes from " +
                text(about.minimum) + " to " + text(about.maximum));
}

void Remote::morph(const Call& call) {
  call.expect(1, 1);
  const bool off = call.atoms[0].word && same(call.atoms[0].word, "off");
  if (!off) set_control(Control::morph, call.number(0));
  player_.set(Switch::morphing, !off);
}

int Remote::latent_number(const Call& call, std::size_t index) const {
  const double latent = call.number(index);
  if (!(latent >= 0 && latent < player_.latents()) || latent != std::floor(latent))
    throw Error(std::string(call.word) + ": no latent " + text(latent) + ": there are " +
                std::to_string(player_.latents()) + ", from 0");
  return static_cast<int>(latent);
}

bool Remote::run_latent(const Call& call) {
  if (call.is("snapshot")) return snapshot(call), true;
  const bool latent = call.is("latent"), scale = call.is("scale"), bias = call.is("bias");
  if (!latent && !scale && !bias && !call.is("override")) return false;
  call.expect(latent ? 1 : 2, 2);
  const int number = latent_number(call, 0);
  LatentControl now = player_.latent(number);
  if (scale) {
    now.scale = call.value(1);
  } else if (bias) {
    now.bias = call.value(1);
  } else if (latent) {
    now.override_on = call.atoms.size() == 2;
    if (now.override_on) now.override_value = call.value(1);
  } else {
    now.override_on = call.number(1) != 0;
  }
  player_.set_latent(number, now);
  return true;
}

void Remote::snapshot(const Call& call) {
  call.expect(2, 2);
  const std::string slot = text(call.atoms[1]);
  const bool a = slot == "a" || slot == "A" || slot == "0", b = slot == "b" || slot == "B" || slot == "1";
  if (!a && !b) call.refuse();
  if (same(call.name(0), "store")) {
    player_.store_snapshot(b);
  } else if (same(call.name(0), "recall")) {
    player_.recall_snapshot(b);
  } else {
    call.refuse();
  }
}

void Remote::label(const Call& call) {
  call.expect(1, 2);
  const auto model = player_.model();
  if (!model) throw Error("label: no model is loaded");
  const Atom& which = call.atoms[0];
  const bool weighs = call.atoms.size() == 2;
  if (model->info().script) {
    Values values{text(which)};
    if (weighs) values.emplace_back(call.number(1));
    return player_.set_attribute(weighs ? "label_weight" : "label", values);
  }
  const auto& labels = model->info().labels;
  auto found = std::find(labels.begin(), labels.end(), text(which));
  const double number = which.word ? -1 : which.number;
  if (found == labels.end() && number >= 0 && number < static_cast<double>(labels.size()) &&
      number == std::floor(number)) {
    found = labels.begin() + static_cast<std::ptrdiff_t>(number);
  }
  if (found == labels.end()) {
    std::string known;
    for (const std::string& one : labels) known += (known.empty() ? "it has " : ", ") + one;
    throw Error("label: the model has no label '" + text(which) + "': " + (known.empty() ? "it has none" : known));
  }
  const int at = static_cast<int>(found - labels.begin());
  weighs ? player_.set_label_weight(at, call.value(1)) : player_.set_label(at);
}

void Remote::set_mode(const Call& call) {
  call.expect(1, 2);
  const double slices = call.atoms.size() > 1 ? call.number(1) : 0;
  if (!(slices >= 0 && slices <= 8192)) call.refuse();
  mode_ = mode_from_name(call.name(0));
  player_.set_mode(mode_, static_cast<int>(slices));
  change();
}

void Remote::set_method(const Call& call) {
  call.expect(1, 1);
  const auto method = method_from(call.name(0));
  if (!method) call.refuse();
  player_.set_method(*method);
  change();
  if (player_.model()) compare_signals();
}

bool Remote::run_answer(const Call& call) {
  if (call.is("get")) return get(call), true;
  const bool latency = call.is("latency"), meters = call.is("meters"), about = call.is("info");
  if (!latency && !meters && !about && !call.is("dump")) return false;
  call.expect(0, 0);
  latency ? answer_latency() : meters ? answer_meters() : about ? info() : dump();
  return true;
}

void Remote::get(const Call& call) {
  call.expect(1, 2);
  const std::string attribute = call.name(0);
  if (attribute == "scale" || attribute == "bias" || attribute == "latent" || attribute == "override") {
    if (call.atoms.size() == 1) return answer_latents(attribute, 0, player_.latents());
    const int latent = latent_number(call, 1);
    return answer_latents(attribute, latent, latent + 1);
  }
  call.expect(1, 1);
  if (attribute == "label" && player_.model() && !player_.model()->info().script) return answer_labels();
  if (!answer_attribute(attribute.c_str()) && !answer_script_attribute(attribute))
    throw Error("no attribute '" + attribute + "': `dump` lists them");
}

std::optional<Atom> Remote::value(const char* attribute) const noexcept {
  const auto is = [&](const char* word) { return same(attribute, word); };
  const auto on = [](bool yes) { return Atom(yes ? 1.0 : 0.0); };
  if (const auto control = control_from(attribute)) return static_cast<double>(player_.get(*control));
  if (const auto which = switch_from(attribute)) return on(player_.get(*which));
  if (is("gain")) return static_cast<double>(player_.get(Control::output_gain_db));
  if (is("enable")) return on(enabled_);
  if (is("offline")) return on(offline_);
  if (is("seed")) return static_cast<double>(seed_);
  if (is("reset")) return 0.0;
  if (is("mode")) return name(mode_.load());
  if (is("method")) return name(player_.method());
  return std::nullopt;
}

bool Remote::answer_attribute(const char* attribute) {
  if (same(attribute, "latency")) return answer_latency(), true;
  if (same(attribute, "meters")) return answer_meters(), true;
  const auto now = value(attribute);
  if (now) shell_.answer(attribute, std::array<Atom, 1>{*now});
  return now.has_value();
}

// False: what plays has none of this name.
bool Remote::set_script_attribute(const Call& call) {
  const auto model = player_.model();
  const AttributeInfo* about = script_attribute(call.name(0), model.get());
  if (!about) return false;
  Values values;
  for (std::size_t i = 1; i < call.atoms.size(); ++i) {
    const bool word = call.atoms[i].word || (i <= about->types.size() && about->types[i - 1] == ValueType::text);
    values.push_back(word ? Value(text(call.atoms[i])) : Value(call.atoms[i].number));
  }
  player_.set_attribute(about->name, values);
  return true;
}

bool Remote::answer_script_attribute(const std::string& name) {
  const auto model = player_.model();
  if (!script_attribute(name, model.get())) return false;
  const Values values = player_.attribute(name);
  std::vector<Atom> atoms;
  for (const Value& value : values) {
    if (const auto* word = std::get_if<std::string>(&value)) {
      atoms.emplace_back(*word);
    } else if (const auto* on = std::get_if<bool>(&value)) {
      atoms.emplace_back(*on ? 1.0 : 0.0);
    } else if (const auto* whole = std::get_if<std::int64_t>(&value)) {
      atoms.emplace_back(static_cast<double>(*whole));
    } else {
      atoms.emplace_back(std::get<double>(value));
    }
  }
  shell_.answer(name.c_str(), atoms);
  return true;
}

void Remote::answer_latents(const std::string& attribute, int from, int to) {
  for (int latent = from; latent < to; ++latent) {
    const LatentControl control = player_.latent(latent);
    const float value = attribute == "scale"    ? control.scale
                        : attribute == "bias"   ? control.bias
                        : attribute == "latent" ? player_.latent_value(latent)
                                                : static_cast<float>(control.override_on);
    shell_.answer(attribute.c_str(), std::array<Atom, 2>{static_cast<double>(latent), static_cast<double>(value)});
  }
}

void Remote::answer_labels() {
  const auto model = player_.model();
  const auto& labels = model->info().labels;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double weight = player_.label_weight(static_cast<int>(i));
    shell_.answer("label", std::array<Atom, 2>{labels[i], weight});
  }
}

void Remote::answer_meters() {
  const Meters& meters = player_.meters();
  shell_.answer("meters", std::array<Atom, 5>{static_cast<double>(meters.input_peak), meters.output_peak.load(),
                                              meters.load.load(), meters.worst_load.load(),
                                              static_cast<double>(meters.late_hops)});
}

void Remote::dump() {
  for (std::size_t i = 0; i < kControls; ++i) answer_attribute(ravel::info(static_cast<Control>(i)).name);
  for (std::size_t i = 0; i < kSwitches; ++i) answer_attribute(name(static_cast<Switch>(i)));
  for (const char* attribute : {"enable", "seed", "offline", "method", "mode", "latency"}) answer_attribute(attribute);
  for (const char* attribute : {"scale", "bias", "override"}) answer_latents(attribute, 0, player_.latents());
  const auto model = player_.model();
  if (model && !model->info().script) answer_labels();
  for (const AttributeInfo& one : model ? model->info().attributes : std::vector<AttributeInfo>{})
    if (!word_from(one.name.c_str())) answer_script_attribute(one.name);
}

void Remote::info() {
  const auto row = [this](const char* key, const Atom& value) {
    shell_.answer("info", std::array<Atom, 2>{key, value});
  };
  const auto count = [&](const char* key, int value) { row(key, static_cast<double>(value)); };
  row("method", name(player_.method()));
  row("mode", name(player_.active_mode()));
  count("latency", player_.latency_samples());
  const std::shared_ptr<const Model> model = player_.model();
  if (!model) return row("name", "none");
  const Info& about = model->info();
  row("name", about.name);
  row("path", player_.path().c_str());
  row("preset", about.preset);
  count("rate", about.sample_rate_hz);
  count("channels", about.channels);
  count("hop", about.hop_samples);
  count("latents", about.latents);
  if (about.quantisers > 0) {
    count("quantisers", about.quantisers);
    count("codes", about.codes);
  }
  for (const std::string& label : about.labels) row("label", label);
  count("prior", about.method(Method::prior).in_channels > 0);
  row("weights", about.bf16_weights ? "bf16" : "fp32");
  row("isa", about.script ? "TorchScript" : name(model->isa()));
}

void Remote::answer_latency() {
  const double samples = player_.latency_samples();
  shell_.answer("latency", std::array<Atom, 2>{samples, prepared_ ? 1000 * samples / host_.sample_rate_hz : 0.0});
}

}  // namespace ravel::patcher
