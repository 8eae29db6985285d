// What the files of the module share: models, the checks of what Python passes, one thread at a time.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ravel/cpu.h"
#include "ravel/engine.h"
#include "ravel/model.h"

namespace ravel {

namespace py = pybind11;
using namespace py::literals;

using Array = py::array_t<float>;

// The one that is asked for, else that of set_isa, else the best.
Isa isa_or_default(const std::optional<std::string>& isa);

inline Method method_from_name(const std::string& text) {
  std::string names;
  for (const Method method : kEveryMethod) {
    if (text == name(method)) return method;
    names += std::string(names.empty() ? "" : ", ") + name(method);
  }
  throw py::value_error("no method '" + text + "': there is " + names);
}

inline py::dict as_dict(const MethodInfo& method) {
  return py::dict("in_channels"_a = method.in_channels, "in_ratio"_a = method.in_ratio,
                  "out_channels"_a = method.out_channels, "out_ratio"_a = method.out_ratio,
                  "delay_samples"_a = method.delay_samples);
}

class PyModel {
 public:
  PyModel(const std::filesystem::path& path, const std::optional<std::string>& isa) {
    const Isa chosen = isa_or_default(isa);
    const py::gil_scoped_release unlocked;
    model_ = Model::load(path.string(), chosen);
  }
  explicit PyModel(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  const std::shared_ptr<const Model>& shared() const { return model_; }
  const Info& info() const { return model_->info(); }
  std::string isa() const { return name(model_->isa()); }
  std::size_t weight_bytes() const { return model_->weight_bytes(); }
  std::string weights() const { return info().bf16_weights ? "bf16" : "fp32"; }

  py::dict methods() const {
    py::dict all;
    for (const Method method : kEveryMethod) {
      if (info().method(method).in_channels > 0) all[name(method)] = as_dict(info().method(method));
    }
    return all;
  }

  py::dict selftest() const {
    std::array<double, kEveryMethod.size()> errors{};
    {
      const py::gil_scoped_release unlocked;
      errors = model_->selftest();
    }
    py::dict all;
    for (const Method method : kEveryMethod) {
      if (info().method(method).in_channels > 0) all[name(method)] = errors.at(static_cast<std::size_t>(method));
    }
    return all;
  }

  std::string repr() const {
    return "<python._native.Model '" + info().name + "', " + info().preset + ", " + weights() + ", " + isa() + ">";
  }

 private:
  std::shared_ptr<const Model> model_;
};

inline std::string shape_text(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis)
    text += (axis ? ", " : "") + std::to_string(array.shape(axis));
  return text + (array.ndim() == 1 ? ",)" : ")");
}

inline std::string text_of(const py::array& array) {
  return py::str(array.dtype()).cast<std::string>() + shape_text(array);
}

inline bool is_float32(const py::array& array) { return array.dtype().equal(py::dtype::of<float>()); }

inline bool is_one_block(const py::array& array) {
  constexpr int kFlags = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (array.flags() & kFlags) == kFlags;
}

// The addresses that an array's elements lie between.
inline std::pair<const char*, const char*> extent(const py::array& array) {
  const char* first = static_cast<const char*>(array.data());
  const char* last = first + array.itemsize();
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    if (array.shape(axis) == 0) return {first, first};
    const py::ssize_t reach = (array.shape(axis) - 1) * array.strides(axis);
    (reach < 0 ? first : last) += reach;
  }
  return {first, last};
}

// What C++ runs on one thread at a time, while Python may hold it in several.
class Turn {
 public:
  Turn(std::atomic_flag& busy, const char* what) : busy_(busy) {
    if (busy_.test_and_set(std::memory_order_acquire))
      throw Error(std::string("this ") + what + " is running in another thread: make one " + what + " for each thread");
  }
  ~Turn() { busy_.clear(std::memory_order_release); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic_flag& busy_;
};

void bind_player(py::module_& m);

}  // namespace ravel
