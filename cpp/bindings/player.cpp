// python._native.Player: what a host shell drives, for numpy arrays of any length.
#include "ravel/player.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bindings.h"

namespace ravel {
namespace {

constexpr int kMostLatents = 256;  // that the player shapes; while no model is known
constexpr int kMostLabels = 256;   // likewise
constexpr auto kControls = static_cast<std::size_t>(Control::count_);
constexpr auto kSwitches = static_cast<std::size_t>(Switch::count_);

py::list controls() {
  py::list all;
  for (std::size_t i = 0; i < kControls; ++i) {
    const ControlInfo& about = info(static_cast<Control>(i));
    all.append(py::dict("name"_a = about.name, "unit"_a = about.unit, "minimum"_a = about.minimum,
                        "maximum"_a = about.maximum, "default"_a = about.initial));
  }
  return all;
}

std::vector<std::string> switches() {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kSwitches; ++i) names.emplace_back(name(static_cast<Switch>(i)));
  return names;
}

using Knob = std::variant<Control, Switch>;

Knob knob_from_name(const std::string& text) {
  std::string names;
  for (std::size_t i = 0; i < kControls; ++i) {
    const char* known = info(static_cast<Control>(i)).name;
    if (text == known) return static_cast<Control>(i);
    names += std::string(known) + ", ";
  }
  for (std::size_t i = 0; i < kSwitches; ++i) {
    const char* known = name(static_cast<Switch>(i));
    if (text == known) return static_cast<Switch>(i);
    names += std::string(known) + (i + 1 < kSwitches ? ", " : "");
  }
  throw py::value_error("no control or switch '" + text + "': there is " + names);
}

// A number that is one; a control's bounds then clamp it, as in every host.
float checked_number(const std::string& what, double value) {
  if (!std::isfinite(value) || std::abs(value) > std::numeric_limits<float>::max())
    throw py::value_error(what + ": expects a finite number, got " + std::to_string(value));
  return static_cast<float>(value);
}

int checked_slot(int slot) {
  if (slot != 0 && slot != 1)
    throw py::value_error("snapshots are 0, heard at morph 0, and 1, got " + std::to_string(slot));
  return slot;
}

class PyPlayer {
 public:
  explicit PyPlayer(const std::string& method) : method_(method_from_name(method)), player_(method_) {}

  void prepare(double sample_rate_hz, int max_block, int fixed_block, const std::optional<int>& in_channels,
               const std::optional<int>& out_channels, bool offline) {
    const auto model = player_.model();
    const MethodInfo one{1, 1, 1, 1, 0};
    const MethodInfo& about = model ? model->info().method(method_) : one;
    Host host;
    host.sample_rate_hz = sample_rate_hz;
    host.max_block = max_block;
    host.fixed_block = fixed_block;
    host.in_channels = in_channels.value_or(about.in_channels);
    host.out_channels = out_channels.value_or(about.out_channels);
    host.offline = offline;
    const Turn turn(busy_, "player");
    prepared_ = false;  // what fails halfway is not to be played
    {
      const py::gil_scoped_release unlocked;
      player_.prepare(host);
    }
    in_.resize(static_cast<std::size_t>(host.in_channels));
    out_.resize(static_cast<std::size_t>(host.out_channels));
    offline_ = offline;
    prepared_ = true;
  }

  void set_mode(const std::string& mode, int core_slices) {
    if (core_slices < 0)
      throw py::value_error("core_slices: 0, as flat as possible, or more, got " + std::to_string(core_slices));
    player_.set_mode(mode_from_name(mode), core_slices);
  }

  void set_method(const std::string& method) { player_.set_method(method_ = method_from_name(method)); }

  void load(const std::variant<const PyModel*, std::filesystem::path>& model, bool wait) {
    bool sound = false;
    {
      const auto* const* given = std::get_if<const PyModel*>(&model);
      if (given && !*given) throw py::type_error("load: expects a path or a Model, got None");
      const py::gil_scoped_release unlocked;
      sound = given ? player_.load((*given)->shared(), wait)
                    : player_.load(std::get<std::filesystem::path>(model).string(), wait);
    }
    if (!sound) throw Error(player_.take_message());
  }

  py::object model() const {
    auto model = player_.model();
    return model ? py::cast(PyModel(std::move(model))) : py::none();
  }

  std::optional<std::string> path() const { return said(player_.path()); }
  std::optional<std::string> take_message() { return said(player_.take_message()); }
  bool loading() const { return player_.loading(); }

  py::array process(const py::object& given, const py::object& out) {
    const Turn turn(busy_, "player");
    if (!prepared_) throw Error("player: prepare() comes before process()");
    const py::array x = checked_input(given);
    py::array y = checked_output(out, py::reinterpret_borrow<py::array>(given));
    const auto* from = static_cast<const float*>(x.data());
    auto* to = static_cast<float*>(y.mutable_data());
    const py::ssize_t frames = x.shape(1);
    const py::gil_scoped_release unlocked;
    for (py::ssize_t at = 0; at < frames; at += kMostFrames) {
      for (std::size_t c = 0; c < in_.size(); ++c) in_[c] = from + static_cast<py::ssize_t>(c) * frames + at;
      for (std::size_t c = 0; c < out_.size(); ++c) out_[c] = to + static_cast<py::ssize_t>(c) * frames + at;
      player_.process(in_.data(), out_.data(), static_cast<int>(std::min(kMostFrames, frames - at)));
    }
    return y;
  }

  int latency_samples() const { return player_.latency_samples(); }
  bool wants_prepare() const { return player_.wants_prepare(); }
  std::string active_mode() const { return name(player_.active_mode()); }
  std::string method() const { return name(player_.method()); }
  int latents() const { return player_.latents(); }
  int in_channels() const { return static_cast<int>(in_.size()); }
  int out_channels() const { return static_cast<int>(out_.size()); }

  void set(const std::string& name, double value) {
    const Knob knob = knob_from_name(name);
    const float number = checked_number(name, value);
    if (const auto* control = std::get_if<Control>(&knob)) {
      player_.set(*control, number);
    } else {
      player_.set(std::get<Switch>(knob), number != 0);
    }
  }

  std::variant<bool, float> get(const std::string& name) const {
    const Knob knob = knob_from_name(name);
    if (const auto* control = std::get_if<Control>(&knob)) return player_.get(*control);
    return player_.get(std::get<Switch>(knob));
  }

  void set_latent(int latent, double scale, double bias, const std::optional<double>& hold) {
    LatentControl control;
    control.scale = checked_number("scale", scale);
    control.bias = checked_number("bias", bias);
    control.override_on = hold.has_value();
    // let go, it glides from where it was held
    control.override_value =
        hold ? checked_number("override", *hold) : player_.latent(checked_latent(latent)).override_value;
    player_.set_latent(checked_latent(latent), control);
  }

  void set_label_weight(int label, double weight) {
    player_.set_label_weight(checked_label(label), checked_number("weight", weight));
  }
  void set_label(int label) { player_.set_label(checked_label(label)); }
  float label_weight(int label) const { return player_.label_weight(checked_label(label)); }

  py::dict attributes() const {
    constexpr std::array kTypes = {"bool", "int", "float", "str", "tensor"};
    py::dict all;
    for (const AttributeInfo& one : player_.attributes()) {
      py::list types;
      for (const ValueType type : one.types) types.append(kTypes.at(static_cast<std::size_t>(type)));
      all[py::str(one.name)] = py::tuple(types);
    }
    return all;
  }

  void set_attribute(const std::string& name, const py::args& values) {
    player_.set_attribute(name, py::cast<Values>(py::list(values)));
  }

  py::tuple attribute(const std::string& name) const { return py::tuple(py::cast(player_.attribute(name))); }

  py::dict latent(int latent) const {
    const LatentControl control = player_.latent(checked_latent(latent));
    return py::dict("scale"_a = control.scale, "bias"_a = control.bias,
                    "override"_a = control.override_on ? py::cast(control.override_value) : py::none());
  }

  Array latent_values() const {
    Array values(player_.latents());
    float* to = values.mutable_data();
    for (int i = 0; i < static_cast<int>(values.size()); ++i) to[i] = player_.latent_value(i);
    return values;
  }

  void store_snapshot(int slot) { player_.store_snapshot(checked_slot(slot)); }
  void recall_snapshot(int slot) { player_.recall_snapshot(checked_slot(slot)); }

  std::int64_t seed() const { return seed_; }
  void set_seed(std::int64_t seed) { player_.set_seed(seed_ = seed); }
  bool offline() const { return offline_; }
  void set_offline(bool offline) { player_.set_offline(offline_ = offline); }
  void reset() { player_.request_reset(); }

  py::dict meters() const {
    const Meters& now = player_.meters();
    return py::dict("input_peak"_a = now.input_peak.load(), "output_peak"_a = now.output_peak.load(),
                    "load"_a = now.load.load(), "worst_load"_a = now.worst_load.load(),
                    "late_hops"_a = now.late_hops.load());
  }
  void reset_meters() { player_.reset_meters(); }

 private:
  static constexpr py::ssize_t kMostFrames = 1 << 30;  // of a call of C++

  static std::optional<std::string> said(std::string text) {
    return text.empty() ? std::nullopt : std::optional(std::move(text));
  }

  int checked_latent(int latent) const {
    const int known = player_.latents(), latents = known > 0 ? std::min(known, kMostLatents) : kMostLatents;
    if (latent < 0 || latent >= latents)
      throw py::value_error("latents are 0 to " + std::to_string(latents - 1) + ", got " + std::to_string(latent));
    return latent;
  }

  int checked_label(int label) const {
    const auto model = player_.model();
    const int labels = model ? static_cast<int>(model->info().labels.size()) : kMostLabels;
    if (labels == 0) throw py::value_error("the model has no labels");
    if (label < 0 || label >= labels)
      throw py::value_error("labels are 0 to " + std::to_string(labels - 1) + ", got " + std::to_string(label));
    return label;
  }

  // The same array, or a contiguous copy.
  py::array checked_input(const py::object& x) const {
    if (!py::isinstance<py::array>(x))
      throw py::type_error(std::string("player: expects a numpy array, got ") + Py_TYPE(x.ptr())->tp_name);
    auto array = py::reinterpret_borrow<py::array>(x);
    if (!is_float32(array) || array.ndim() != 2 || array.shape(0) != in_channels())
      throw py::value_error("player: expects float32(" + std::to_string(in_channels()) + ", frames), got " +
                            text_of(array));
    return is_one_block(array) ? array : py::array(array.attr("copy")("C"));
  }

  // In place is allowed: every channel then lies where it lay.
  py::array checked_output(const py::object& out, const py::array& x) const {
    const py::ssize_t frames = x.shape(1);
    if (out.is_none()) return Array(std::vector<py::ssize_t>{out_channels(), frames});
    if (!py::isinstance<py::array>(out))
      throw py::type_error(std::string("player: out must be a numpy array, got ") + Py_TYPE(out.ptr())->tp_name);
    auto array = py::reinterpret_borrow<py::array>(out);
    if (!is_float32(array) || array.ndim() != 2 || array.shape(0) != out_channels() || array.shape(1) != frames)
      throw py::value_error("player: out must be float32(" + std::to_string(out_channels()) + ", " +
                            std::to_string(frames) + "), got " + text_of(array));
    if (!array.writeable()) throw py::value_error("player: out is read-only");
    if (!is_one_block(array)) throw py::value_error("player: out must be contiguous and aligned");
    const auto [x_first, x_last] = extent(x);
    const auto [out_first, out_last] = extent(array);
    const bool in_place = x_first == out_first && is_one_block(x);
    if (!in_place && x_first < out_last && out_first < x_last)
      throw py::value_error("player: out overlaps the input without being the same array");
    return array;
  }

  Method method_;  // of the next prepare
  Player player_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  bool prepared_ = false;
  bool offline_ = false;
  std::int64_t seed_ = 0;
  std::vector<const float*> in_;
  std::vector<float*> out_;
};

}  // namespace

void bind_player(py::module_& m) {
  py::class_<PyPlayer>(m, "Player", py::module_local(),
                       "A model behind any block size, rate and channel count, with a performer's controls: what every "
                       "host runs. Late by exactly latency_samples.")
      .def(py::init<const std::string&>(), "method"_a = "forward", "`method`: forward, encode, decode or prior.")
      .def("prepare", &PyPlayer::prepare, "sample_rate_hz"_a, "max_block"_a = 512, "fixed_block"_a = 0,
           "in_channels"_a = py::none(), "out_channels"_a = py::none(), "offline"_a = false,
           "Begin from silence for a host; the latency is constant until the next prepare. `max_block`: longer calls "
           "are cut. `fixed_block`: a promise that every call has as many frames, which shortens the latency. "
           "`in_channels`, `out_channels`: None is what the model's method has, 1 without a model. `offline`: not real "
           "time, a worker is waited for.")
      .def("set_mode", &PyPlayer::set_mode, "mode"_a, "core_slices"_a = 0,
           "automatic, inline, sliced or threaded, from the next prepare on. `core_slices`: 0 is as flat as possible.")
      .def("set_method", &PyPlayer::set_method, "method"_a,
           "forward, encode, decode or prior, from the next prepare on.")
      .def("load", &PyPlayer::load, "model"_a, "wait"_a = true,
           "Load a path or take a Model, and cross-fade to it. `wait`: raise Error when it cannot be used; else that "
           "is a message. What played before plays on either way.")
      .def_property_readonly("loading", &PyPlayer::loading, "A load is under way.")
      .def_property_readonly("model", &PyPlayer::model, "The Model of the newest load that succeeded, or None.")
      .def_property_readonly("path", &PyPlayer::path, "Its file, or None when it came as a Model.")
      .def("take_message", &PyPlayer::take_message,
           "The newest error of a load, or warning, since the last call; None when there is none.")
      .def("process", &PyPlayer::process, "x"_a, "out"_a = py::none(),
           "The output for x, float32 (in_channels, frames), after all that came before. Any number of frames. NaN and "
           "infinity count as 0 and never come out. Written into `out` when it is given, which may be x itself. The "
           "interpreter is free meanwhile.")
      .def_property_readonly("latency_samples", &PyPlayer::latency_samples,
                             "Host samples from input to output, everything included; 0 while there is no model. Of "
                             "decode: from the last sample of a hop, the one that is read.")
      .def_property_readonly("wants_prepare", &PyPlayer::wants_prepare,
                             "A model that came later needs more latency than the last prepare found.")
      .def_property_readonly("active_mode", &PyPlayer::active_mode, "inline, sliced or threaded, as it runs.")
      .def_property_readonly("method", &PyPlayer::method, "forward, encode, decode or prior, as it runs.")
      .def_property_readonly("latents", &PyPlayer::latents, "Latents of the model; 0 without one.")
      .def_property_readonly("in_channels", &PyPlayer::in_channels, "Of process, since the last prepare.")
      .def_property_readonly("out_channels", &PyPlayer::out_channels, "Of process, since the last prepare.")
      .def_static("controls", &controls,
                  "What set and get know, ramped over 20 ms: name, unit, minimum, maximum, default. The temperature "
                  "that nobody set is the model's.")
      .def_static("switches", &switches, "What set and get know as on and off.")
      .def("set", &PyPlayer::set, "name"_a, "value"_a,
           "Turn a control, clamped to its range, or a switch. From any thread.")
      .def("get", &PyPlayer::get, "name"_a, "A control's value or a switch's state, as set.")
      .def("set_label_weight", &PyPlayer::set_label_weight, "label"_a, "weight"_a,
           "The weight of a label, by number, in what plays, -10 to 10, ramped; models that come take it over.")
      .def("set_label", &PyPlayer::set_label, "label"_a, "This label alone: 1, the others 0.")
      .def("label_weight", &PyPlayer::label_weight, "label"_a, "As set.")
      .def("set_latent", &PyPlayer::set_latent, "latent"_a, "scale"_a = 1.0, "bias"_a = 0.0, "override"_a = py::none(),
           "Play value * scale + bias, or `override` where it is a number.")
      .def("latent", &PyPlayer::latent, "latent"_a, "scale, bias and override of a latent, as set.")
      .def_property_readonly("attributes", &PyPlayer::attributes,
                             "Those of a TorchScript model, by name: the types of their values.")
      .def("set_attribute", &PyPlayer::set_attribute, "name"_a,
           "Set an attribute to these values before the next call of the script; what it refuses is a message.")
      .def("attribute", &PyPlayer::attribute, "name"_a, "Its values, as set, else as the model has them.")
      .def("latent_values", &PyPlayer::latent_values, "The latents as last played, float32 (latents,).")
      .def("store_snapshot", &PyPlayer::store_snapshot, "slot"_a,
           "Keep the latents now playing. Slot 0 is heard at morph 0, slot 1 at morph 1, while `morphing` is on.")
      .def("recall_snapshot", &PyPlayer::recall_snapshot, "slot"_a, "Freeze at kept latents.")
      .def_property("seed", &PyPlayer::seed, &PyPlayer::set_seed, "Which noise: equal seeds repeat.")
      .def_property("offline", &PyPlayer::offline, &PyPlayer::set_offline, "Not real time: a worker is waited for.")
      .def("reset", &PyPlayer::reset, "Histories to silence at the next process; what sounded runs out.")
      .def("meters", &PyPlayer::meters,
           "input_peak, output_peak, worst_load and late_hops since reset_meters; load: share of real time, smoothed.")
      .def("reset_meters", &PyPlayer::reset_meters, "Peaks, worst load and late hops to zero.");
}

}  // namespace ravel
