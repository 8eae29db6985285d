// python._native: models and engines for numpy arrays. Whatever Python passes is checked here, before anything runs.
#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../bench/roofline.h"
#include "bindings.h"

namespace ravel {
namespace {

std::atomic<int> chosen_isa{-1};  // of set_isa; -1: the best

// The first value that is NaN or infinite, or -1.
py::ssize_t first_not_finite(const float* x, py::ssize_t count) {
  constexpr std::uint32_t kExponent = 0x7F800000;
  std::uint32_t bad = 0;  // no branch, so that the loop becomes vectors
  for (py::ssize_t i = 0; i < count; ++i) bad |= (std::bit_cast<std::uint32_t>(x[i]) & kExponent) == kExponent;
  if (!bad) return -1;
  return std::find_if(x, x + count, [](float v) { return !std::isfinite(v); }) - x;
}

class PyEngine {
 public:
  PyEngine(const PyModel& model, const std::string& method, int streams, int max_hops, int slices, int core_slices)
      : model_(model.shared()),
        method_(method_from_name(method)),
        info_(model_->info().method(method_)),
        engine_(model_, method_, {streams, max_hops, slices, core_slices}),
        temperature_(model_->info().temperature),
        in_(static_cast<std::size_t>(streams) * info_.in_channels),
        out_(static_cast<std::size_t>(streams) * info_.out_channels) {
    engine_.set_temperature(temperature_);
    engine_.set_message_hook(
        {&said_, [](void* said, const char* text) noexcept { *static_cast<std::string*>(said) = text; }});
  }

  py::array process(const py::object& x, const py::object& out) {
    return run(x, out, Driven::whole, [this](const float* from, float* to, py::ssize_t hops) {
      for_blocks(from, to, hops, [this](int count) { engine_.process(in_.data(), out_.data(), count); });
    });
  }

  py::array process_sliced(const py::object& x, const py::object& out, const py::object& seconds) {
    const int slices = engine_.settings().slices;
    if (slices == 0) throw py::value_error("process_sliced: this engine was made with slices=0");
    std::optional<py::array_t<double>> times;
    if (!seconds.is_none()) times = checked_seconds(x, seconds);
    double* time = times ? times->mutable_data() : nullptr;
    return run(x, out, Driven::in_slices, [&](const float* from, float* to, py::ssize_t hops) {
      for (py::ssize_t slice = 0; slice < hops * slices; ++slice) {
        point_slice(from, to, hops, slice / slices, static_cast<int>(slice % slices));
        const auto start = std::chrono::steady_clock::now();
        engine_.begin(in_.data());
        engine_.advance();
        engine_.end(out_.data());
        if (time) time[slice] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }
    });
  }

  py::tuple process_timed(const py::object& x) {
    py::array_t<double> seconds(static_cast<py::ssize_t>(engine_.ops().size()));
    double* sums = seconds.mutable_data();
    std::fill_n(sums, seconds.size(), 0.0);
    py::array y = run(x, py::none(), Driven::whole, [&](const float* from, float* to, py::ssize_t hops) {
      for_blocks(from, to, hops, [&](int count) { engine_.process_timed(in_.data(), out_.data(), count, sums); });
    });
    return py::make_tuple(y, seconds);
  }

  void reset() {
    const Turn turn(busy_, "engine");
    engine_.reset();
    driven_ = Driven::not_yet;
  }

  int delay() const { return engine_.delay(); }
  int sliced_delay() const { return engine_.sliced_delay_samples() / info_.out_ratio; }
  int in_frames() const { return engine_.in_frames(); }
  int out_frames() const { return engine_.out_frames(); }
  std::size_t history_bytes() const { return engine_.history_bytes(); }
  int streams() const { return engine_.settings().streams; }
  std::string method() const { return name(method_); }

  py::list ops() const {
    py::list all;
    for (const OpInfo& op : engine_.ops())
      all.append(py::dict("name"_a = op.name, "kind"_a = op.kind, "flops"_a = op.flops,
                          "weight_bytes"_a = op.weight_bytes, "stage"_a = op.stage));
    return all;
  }

  py::object latest(int op) {
    const Turn turn(busy_, "engine");
    const std::vector<float> values = engine_.latest(op);
    if (values.empty()) return py::none();
    Array rows(std::vector<py::ssize_t>{streams(), static_cast<py::ssize_t>(values.size()) / streams()});
    std::copy(values.begin(), values.end(), rows.mutable_data());
    return rows;
  }

  float temperature() const { return temperature_; }
  float fill() const { return fill_; }
  bool noise() const { return noise_; }
  std::int64_t seed() const { return seed_; }

  void set_temperature(float value) {
    const Turn turn(busy_, "engine");
    engine_.set_temperature(temperature_ = amount("temperature", value));
  }
  void set_fill(float value) {
    const Turn turn(busy_, "engine");
    engine_.set_fill(fill_ = amount("fill", value));
  }
  float prior() const { return prior_; }
  float prior_temperature() const { return prior_temperature_; }
  void set_prior(float value) {
    const Turn turn(busy_, "engine");
    if (!(value >= 0 && value <= 1)) throw py::value_error("prior: 0 to 1, got " + std::to_string(value));
    if (value > 0 && model_->info().method(Method::prior).in_channels == 0)
      throw py::value_error("prior: the model has none");
    engine_.set_prior(prior_ = value);
  }
  void set_prior_temperature(float value) {
    const Turn turn(busy_, "engine");
    engine_.set_prior_temperature(prior_temperature_ = amount("prior_temperature", value));
  }
  void set_noise(bool on) {
    const Turn turn(busy_, "engine");
    engine_.set_noise(noise_ = on);
  }
  void set_seed(std::int64_t seed) {
    const Turn turn(busy_, "engine");
    engine_.set_seed(seed_ = seed);
  }
  void set_scale(int latent, float value) {
    const Turn turn(busy_, "engine");
    engine_.set_scale(checked_latent("set_scale", latent, value), value);
  }
  void set_bias(int latent, float value) {
    const Turn turn(busy_, "engine");
    engine_.set_bias(checked_latent("set_bias", latent, value), value);
  }
  void set_label_weight(int label, float weight) {
    const Turn turn(busy_, "engine");
    const auto labels = static_cast<int>(model_->info().labels.size());
    if (label < 0 || label >= labels) {
      throw py::value_error(labels == 0 ? "set_label_weight: the model has no labels"
                                        : "set_label_weight: labels are 0 to " + std::to_string(labels - 1) + ", got " +
                                              std::to_string(label));
    }
    if (!(std::abs(weight) <= 10)) throw py::value_error("set_label_weight: expects -10 to 10");
    engine_.set_label_weight(label, weight);
  }

 private:
  enum class Driven { not_yet, whole, in_slices };  // since the reset

  static float amount(const char* what, float value) {
    if (!(value >= 0 && value <= 10))  // as the .ts
      throw py::value_error(std::string(what) + ": 0 to 10, got " + std::to_string(value));
    return value;
  }

  int checked_latent(const char* what, int latent, float value) const {
    const int latents = model_->info().latents;
    if (latent < 0 || latent >= latents)
      throw py::value_error(std::string(what) + ": latents are 0 to " + std::to_string(latents - 1) + ", got " +
                            std::to_string(latent));
    if (!std::isfinite(value)) throw py::value_error(std::string(what) + ": the value is not finite");
    return latent;
  }

  std::string prefix() const { return std::string(name(method_)) + ": "; }

  // The same array, or a contiguous copy.
  py::array checked_input(const py::object& x) const {
    if (!py::isinstance<py::array>(x))
      throw py::type_error(prefix() + "expects a numpy array, got " + Py_TYPE(x.ptr())->tp_name);
    auto array = py::reinterpret_borrow<py::array>(x);
    const bool fits = is_float32(array) && array.ndim() == 3 && array.shape(0) == streams() &&
                      array.shape(1) == info_.in_channels && array.shape(2) > 0 && array.shape(2) % in_frames() == 0;
    if (!fits)
      throw py::value_error(prefix() + "expects float32(" + std::to_string(streams()) + ", " +
                            std::to_string(info_.in_channels) + ", frames) with frames a positive multiple of " +
                            std::to_string(in_frames()) + ", got " + text_of(array));
    return is_one_block(array) ? array : py::array(array.attr("copy")("C"));
  }

  void check_finite(const float* x, py::ssize_t frames) const {
    const py::ssize_t at = first_not_finite(x, static_cast<py::ssize_t>(in_.size()) * frames);
    if (at < 0) return;
    const py::ssize_t row = at / frames;
    throw py::value_error(prefix() + "the input is " + (std::isnan(x[at]) ? "NaN" : "infinite") + " at stream " +
                          std::to_string(row / info_.in_channels) + ", channel " +
                          std::to_string(row % info_.in_channels) + ", frame " + std::to_string(at % frames));
  }

  py::array checked_output(const py::object& out, const py::array& x, py::ssize_t frames) const {
    if (out.is_none()) return Array(std::vector<py::ssize_t>{streams(), info_.out_channels, frames});
    if (!py::isinstance<py::array>(out))
      throw py::type_error(prefix() + "out must be a numpy array, got " + Py_TYPE(out.ptr())->tp_name);
    auto array = py::reinterpret_borrow<py::array>(out);
    const bool fits = is_float32(array) && array.ndim() == 3 && array.shape(0) == streams() &&
                      array.shape(1) == info_.out_channels && array.shape(2) == frames;
    if (!fits)
      throw py::value_error(prefix() + "out must be float32(" + std::to_string(streams()) + ", " +
                            std::to_string(info_.out_channels) + ", " + std::to_string(frames) + "), got " +
                            text_of(array));
    if (!array.writeable()) throw py::value_error(prefix() + "out is read-only");
    if (!is_one_block(array)) throw py::value_error(prefix() + "out must be contiguous and aligned");
    const auto [x_first, x_last] = extent(x);
    const auto [out_first, out_last] = extent(array);
    if (x_first < out_last && out_first < x_last) throw py::value_error(prefix() + "out overlaps the input");
    return array;
  }

  py::array_t<double> checked_seconds(const py::object& x, const py::object& seconds) const {
    const py::array input = checked_input(x);
    const py::ssize_t callbacks = input.shape(2) / in_frames() * engine_.settings().slices;
    if (!py::isinstance<py::array_t<double>>(seconds)) throw py::type_error("seconds must be a float64 numpy array");
    auto array = py::reinterpret_borrow<py::array>(seconds);
    if (array.ndim() != 1 || array.shape(0) != callbacks || !array.writeable() || !is_one_block(array))
      throw py::value_error("seconds must be a writeable, contiguous float64(" + std::to_string(callbacks) +
                            ",), got " + text_of(array));
    return py::reinterpret_borrow<py::array_t<double>>(array);
  }

  // Everything that a call shares: checks, the turn, the lock of the interpreter.
  template <class Work>
  py::array run(const py::object& given, const py::object& out, Driven how, Work work) {
    const py::array x = checked_input(given);
    const py::ssize_t hops = x.shape(2) / in_frames();
    py::array y = checked_output(out, py::reinterpret_borrow<py::array>(given), hops * out_frames());
    const Turn turn(busy_, "engine");
    if (driven_ != Driven::not_yet && driven_ != how)
      throw py::value_error(prefix() + "whole hops and slices do not mix: reset() lies between them");
    const auto* from = static_cast<const float*>(x.data());
    auto* to = static_cast<float*>(y.mutable_data());
    const py::gil_scoped_release unlocked;
    check_finite(from, x.shape(2));
    driven_ = how;
    work(from, to, hops);
    if (!said_.empty()) throw Error(std::exchange(said_, {}));  // a script failed
    return y;
  }

  // Calls block(n) with in_ and out_ at each run of at most max_hops hops.
  template <class Block>
  void for_blocks(const float* from, float* to, py::ssize_t hops, Block block) {
    const py::ssize_t most = engine_.settings().max_hops;
    for (py::ssize_t hop = 0; hop < hops; hop += most) {
      point(from, to, hops, hop * in_frames(), hop * out_frames());
      block(static_cast<int>(std::min(most, hops - hop)));
    }
  }

  void point(const float* from, float* to, py::ssize_t hops, py::ssize_t in_at, py::ssize_t out_at) {
    for (std::size_t row = 0; row < in_.size(); ++row)
      in_[row] = from + static_cast<py::ssize_t>(row) * hops * in_frames() + in_at;
    for (std::size_t row = 0; row < out_.size(); ++row)
      out_[row] = to + static_cast<py::ssize_t>(row) * hops * out_frames() + out_at;
  }

  // A slice brings its share of audio; a latent frame is there for all slices of its hop.
  void point_slice(const float* from, float* to, py::ssize_t hops, py::ssize_t hop, int slice) {
    const int slices = engine_.settings().slices;
    const py::ssize_t in_share = info_.in_ratio == 1 ? in_frames() / slices : 0;
    const py::ssize_t out_share = info_.out_ratio == 1 ? out_frames() / slices : 0;
    point(from, to, hops, hop * in_frames() + slice * in_share, hop * out_frames() + slice * out_share);
  }

  std::shared_ptr<const Model> model_;
  Method method_;
  MethodInfo info_;
  Engine engine_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  Driven driven_ = Driven::not_yet;
  float temperature_, fill_ = 0, prior_ = 0, prior_temperature_ = 1;
  bool noise_ = true;
  std::int64_t seed_ = 0;
  std::string said_;
  std::vector<const float*> in_;
  std::vector<float*> out_;
};

std::vector<std::string> cpu_features() {
  std::vector<std::string> names;
  for (const Isa isa : supported_isas()) names.emplace_back(name(isa));
  return names;
}

void set_isa(const std::optional<std::string>& isa) { chosen_isa = isa ? static_cast<int>(isa_from_name(*isa)) : -1; }

void check_seconds(double seconds) {
  if (!(seconds > 0 && seconds <= 60)) throw py::value_error("seconds: above 0, at most 60");
}

double peak_gflops(double seconds, const std::optional<std::string>& isa, bool bf16_dot) {
  check_seconds(seconds);
  const Isa chosen = isa_or_default(isa);
  const py::gil_scoped_release unlocked;
  return bf16_dot ? bench::bf16_dot_gflops(seconds) : bench::fp32_gflops(seconds, chosen);
}

double read_bandwidth(std::size_t bytes, double seconds) {
  check_seconds(seconds);
  const py::gil_scoped_release unlocked;
  return bench::read_gb_per_s(bytes, seconds, best_isa());
}

void bind_model(py::module_& m) {
  const auto info = [](auto member) { return [member](const PyModel& model) { return model.info().*member; }; };
  py::class_<PyModel>(m, "Model", py::module_local(),
                      "A `.ravel` file, read, checked and packed for one instruction set; immutable.")
      .def(py::init<const std::filesystem::path&, const std::optional<std::string>&>(), "path"_a, "isa"_a = py::none(),
           "Read the whole file; it is not used afterwards. `isa`: one of cpu_features(), else set_isa's choice, else "
           "the best. Raises Error, naming the node or tensor, for anything that is not a sound model.")
      .def_property_readonly("name", info(&Info::name), "What the model is called.")
      .def_property_readonly("preset", info(&Info::preset), "The configuration that it was trained from.")
      .def_property_readonly("sample_rate_hz", info(&Info::sample_rate_hz), "The rate that it was trained at.")
      .def_property_readonly("channels", info(&Info::channels), "Audio channels.")
      .def_property_readonly("hop_samples", info(&Info::hop_samples), "Samples of one latent frame.")
      .def_property_readonly("latents", info(&Info::latents), "Latents that are played.")
      .def_property_readonly("latent_size", info(&Info::latent_size), "Latents of the network, played or filled.")
      .def_property_readonly("quantisers", info(&Info::quantisers), "Channels of codes of a discrete model, else 0.")
      .def_property_readonly("codes", info(&Info::codes), "Codes of each of them, else 0.")
      .def_property_readonly("labels", info(&Info::labels), "Of the instruments that it plays; none: one instrument.")
      .def_property_readonly("temperature", info(&Info::temperature), "Default of the engine's attribute.")
      .def_property_readonly("fidelity_curve", info(&Info::fidelity_curve),
                             "Cumulative share of variance of the strongest 1, 2, ... latents.")
      .def_property_readonly("card", info(&Info::card), "Everything that the exporter knew, as JSON.")
      .def_property_readonly("weights", &PyModel::weights, "\"fp32\" or \"bf16\", as stored.")
      .def_property_readonly("isa", &PyModel::isa, "The instruction set that the weights are packed for.")
      .def_property_readonly("weight_bytes", &PyModel::weight_bytes, "Memory of the packed weights.")
      .def_property_readonly(
          "methods", &PyModel::methods,
          "forward, encode, decode and prior, where there is one: channels, samples a frame (ratio) and delay of each.")
      .def("selftest", &PyModel::selftest,
           "Run the golden pair that travels in the file: largest error over peak, for each method.")
      .def("__repr__", &PyModel::repr);
}

void bind_engine(py::module_& m) {
  py::class_<PyEngine>(m, "Engine", py::module_local(),
                       "One method of a model, running: histories of its own over shared weights.")
      .def(py::init<const PyModel&, const std::string&, int, int, int, int>(), "model"_a, "method"_a = "forward",
           "streams"_a = 1, "max_hops"_a = 1, "slices"_a = 0, "core_slices"_a = 1,
           "`streams` independent inputs run side by side, `max_hops` hops at once. `slices`: callbacks that a hop is "
           "cut into by process_sliced, its core over `core_slices` of them.")
      .def("process", &PyEngine::process, "x"_a, "out"_a = py::none(),
           "The output for x, float32 (streams, in_channels, frames) of whole hops, after all that came before. "
           "Written into `out` when it is given. The interpreter is free meanwhile.")
      .def("process_sliced", &PyEngine::process_sliced, "x"_a, "out"_a = py::none(), "seconds"_a = py::none(),
           "The same in slices, `sliced_delay` frames later. `seconds`, float64 (hops * slices,), gets the duration "
           "of each callback.")
      .def("process_timed", &PyEngine::process_timed, "x"_a,
           "The output, and the seconds that each of ops() took over all hops.")
      .def("reset", &PyEngine::reset, "Histories to silence, noise to its start, slices to the first.")
      .def("ops", &PyEngine::ops, "The schedule: name, kind, flops and weight_bytes (a hop and stream), stage.")
      .def("latest", &PyEngine::latest, "op"_a,
           "The newest row of the result of ops()[op], float32 (streams, channels); None where it is not kept.")
      .def_property_readonly("method", &PyEngine::method, "forward, encode, decode or prior.")
      .def_property_readonly("streams", &PyEngine::streams, "Independent inputs.")
      .def_property_readonly("in_frames", &PyEngine::in_frames, "Input frames of a hop.")
      .def_property_readonly("out_frames", &PyEngine::out_frames, "Output frames of a hop.")
      .def_property_readonly("delay", &PyEngine::delay, "Output frames by which process is late.")
      .def_property_readonly("sliced_delay", &PyEngine::sliced_delay, "Further output frames of process_sliced.")
      .def_property_readonly("history_bytes", &PyEngine::history_bytes, "Memory of the histories.")
      .def_property("temperature", &PyEngine::temperature, &PyEngine::set_temperature,
                    "Of the latent when encoding: 0 plays the mean.")
      .def_property("fill", &PyEngine::fill, &PyEngine::set_fill,
                    "Latents that were not exported: 0 rests them at their mean, 1 lets them wander.")
      .def_property("prior", &PyEngine::prior, &PyEngine::set_prior,
                    "How much of what plays is the prior's: 0 the encoder alone, 1 the prior by itself.")
      .def_property("prior_temperature", &PyEngine::prior_temperature, &PyEngine::set_prior_temperature,
                    "How freely the prior goes on: 0 the likeliest, 1 as it learned.")
      .def_property("noise", &PyEngine::noise, &PyEngine::set_noise, "The filtered-noise part of the sound.")
      .def_property("seed", &PyEngine::seed, &PyEngine::set_seed, "Which noise: equal seeds repeat.")
      .def("set_scale", &PyEngine::set_scale, "latent"_a, "value"_a, "Multiply a latent before decoding.")
      .def("set_bias", &PyEngine::set_bias, "latent"_a, "value"_a, "Add to a latent before decoding, after scaling.")
      .def("set_label_weight", &PyEngine::set_label_weight, "label"_a, "weight"_a,
           "The weight of a label, by number, in what plays, -10 to 10; at first 1 for the first, 0 for the others.");
}

}  // namespace

Isa isa_or_default(const std::optional<std::string>& isa) {
  if (isa) return isa_from_name(*isa);
  const int chosen = chosen_isa;
  return chosen < 0 ? best_isa() : static_cast<Isa>(chosen);
}

}  // namespace ravel

PYBIND11_MODULE(_native, m) {
  using namespace ravel;
  m.doc() = "The C++ engine: `.ravel` models without torch.";
  // all of it local, so that this module and one built with libtorch can be in one process
  py::register_local_exception<Error>(m, "Error", PyExc_ValueError).doc() =
      "A model file or setting that cannot be used; the text says what, where and what to do.";
  bind_model(m);
  bind_engine(m);
  bind_player(m);
  m.def("plays_scripts", &plays_scripts, "Built with libtorch: Model reads TorchScript too.");
  m.def("cpu_features", &cpu_features, "Instruction sets that this machine can run, slowest first.");
  m.def("set_isa", &set_isa, "isa"_a, "The instruction set of models loaded from now on; None: the best.");
  m.def("peak_gflops", &peak_gflops, "seconds"_a = 0.2, "isa"_a = py::none(), "bf16_dot"_a = false,
        "GFLOP/s of multiply-adds between registers on one thread: fp32, or the native bfloat16 dot product.");
  m.def("read_bandwidth", &read_bandwidth, "bytes"_a, "seconds"_a = 0.2,
        "GB/s of reading a buffer of that many bytes again and again on one thread.");
}
