// One walk over an optimiser's group: what a step is applied to, and whether that is as in most
// steps. Needs the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bindings_steps.h"

namespace bound {

// Where the bits of masked parameters begin in an arena, and in which order they lie there: that of
// the parameters as this is made, of whose shapes they must still be.
class Places {
 public:
  Places(const pybind11::list& params, const Addresses& words, const pybind11::object& arena)
      : params_(params), arena_(arena) {
    for (size_t i = 0; i < words.size(); ++i) {
      const pybind11::object param = params_[i];
      TensorView view;
      readable_ = readable_ && reader().read(param, &view);
      if (!readable_) return;
      places_.push_back({param.ptr(), words[i], layout_of(view)});
    }
    std::sort(places_.begin(), places_.end(),
              [](const Place& a, const Place& b) { return a.param < b.param; });
  }

  const pybind11::object& arena() const { return arena_; }

  // Whether `out` now tells of the arena.
  bool read(TensorView* out) const { return readable_ && reader().read(arena_, out); }

  // The first word of a parameter's bits, or -1 for none; nothing if they are of another layout.
  std::optional<int64_t> word_of(PyObject* param, const TensorView& view) const {
    const auto place =
        std::lower_bound(places_.begin(), places_.end(), param,
                         [](const Place& a, PyObject* wanted) { return a.param < wanted; });
    if (place == places_.end() || place->param != param) return -1;
    const Layout& known = place->layout;
    const bool same =
        std::equal(known.shape.begin(), known.shape.end(), view.shape, view.shape + view.ndim) &&
        std::equal(known.strides.begin(), known.strides.end(), view.strides);
    return same ? std::optional(place->word) : std::nullopt;
  }

 private:
  struct Layout {
    std::vector<int64_t> shape, strides;
  };
  struct Place {
    PyObject* param;
    int64_t word;
    Layout layout;
  };

  static Layout layout_of(const TensorView& view) {
    return {{view.shape, view.shape + view.ndim}, {view.strides, view.strides + view.ndim}};
  }

  pybind11::list params_;
  pybind11::object arena_;
  std::vector<Place> places_;
  bool readable_ = true;
};

// What a step is applied to, as it is found one parameter after another.
class Gathering {
 public:
  Gathering(const std::vector<pybind11::str>& keys, const pybind11::object& counter,
            const Places* places)
      : keys_(keys), counter_(counter), places_(places), states_(keys.size()) {
    args_.states.resize(keys.size());
  }

  // False unless the parameter can be read, is dense, of the others' dtype and device, and so is
  // its gradient, side by side with it.
  bool add(pybind11::handle param, const pybind11::object& grad) {
    TensorView other;
    if (!reader().read(param, &view_) || !reader().read(grad, &other) ||
        !side_by_side(view_, other) || may_be_negated(param, view_) ||
        may_be_negated(grad, other)) {
      return false;
    }
    if (params_.empty() && !begin()) return false;
    if (!same_kind(first_, view_) || !place(param.ptr())) return false;
    params_.append(param);
    grads_.append(grad);
    args_.weights.push_back(view_.address());
    args_.grads.push_back(other.address());
    args_.numels.push_back(view_.numel());
    return true;
  }

  bool has_states() const { return !keys_.empty() || !counter_.is_none(); }

  // The same of the last parameter's states, which lie side by side with it, and of its count,
  // a float32 on its device.
  bool add_states(PyObject* kept) {
    if (!PyDict_Check(kept)) return false;
    TensorView other;
    for (size_t i = 0; i < keys_.size(); ++i) {
      PyObject* value = PyDict_GetItem(kept, keys_[i].ptr());
      if (!value || !reader().read(value, &other) || !side_by_side(view_, other)) return false;
      states_[i].append(pybind11::handle(value));
      args_.states[i].push_back(other.address());
    }
    if (counter_.is_none()) return true;
    PyObject* value = PyDict_GetItem(kept, counter_.ptr());
    if (!value || !reader().read(value, &other) || !is_float_beside(view_, other)) return false;
    counts_.append(pybind11::handle(value));
    args_.counts.push_back(other.address());
    return true;
  }

  pybind11::object taken() {
    if (params_.empty()) return pybind11::none();
    const pybind11::object mask = masked_ > 0 ? places_->arena() : pybind11::none();
    args_.mask = masked_ > 0 ? arena_.address() : 0;
    pybind11::list words, states;
    for (const int64_t word : args_.words) words.append(word);
    for (const pybind11::list& state : states_) states.append(state);
    return pybind11::make_tuple(params_, grads_, states, counts_, mask, words, std::move(args_),
                                masked_);
  }

 private:
  bool begin() {
    first_ = view_;
    const std::optional<int32_t> dtype = dtype_of(view_);
    args_.dtype = dtype.value_or(0);
    return dtype && (!places_ || places_->read(&arena_));
  }

  bool place(PyObject* param) {
    const std::optional<int64_t> word = places_ ? places_->word_of(param, view_) : -1;
    if (!word) return false;
    args_.words.push_back(*word);
    if (*word < 0) return true;
    ++masked_;
    return is_maskable(view_) && view_.device_type == arena_.device_type &&
           view_.device_id == arena_.device_id;
  }

  const std::vector<pybind11::str>& keys_;
  const pybind11::object& counter_;
  const Places* places_;
  TensorView first_, view_, arena_;
  pybind11::list params_, grads_, counts_;
  std::vector<pybind11::list> states_;
  StepArgs args_{};
  int64_t masked_ = 0;  // params that have a mask
};

// What a step is applied to, of a group's parameters that have gradients: lists of them, of these,
// of their states under each of `keys` and of their counts of steps under `counter`, unless it is
// None; the arena if any of them is in `places`, and each one's first word there or -1; all of that
// as addresses; and how many of them are in `places`.
//
// None unless all of it is there and as `Gathering` wants it. `state` is looked through in the
// order of its keys, which must be the parameters'; to look a tensor up runs Python.
inline pybind11::object gather(const pybind11::object& params, const pybind11::object& state,
                               const std::vector<pybind11::str>& keys,
                               const pybind11::object& counter, const Places* places) {
  static PyObject* const kGrad = PyUnicode_InternFromString("grad");
  if (!PyList_Check(params.ptr()) || !PyDict_Check(state.ptr())) return pybind11::none();
  Gathering found(keys, counter, places);
  PyObject *key = nullptr, *kept = nullptr;
  Py_ssize_t place = 0;
  for (const pybind11::handle param : params) {
    const auto grad =
        pybind11::reinterpret_steal<pybind11::object>(PyObject_GetAttr(param.ptr(), kGrad));
    if (!grad) throw pybind11::error_already_set();
    if (grad.is_none()) continue;
    if (!found.add(param, grad)) return pybind11::none();
    if (!found.has_states()) continue;
    do {
      if (!PyDict_Next(state.ptr(), &place, &key, &kept)) return pybind11::none();
    } while (key != param.ptr());
    if (!found.add_states(kept)) return pybind11::none();
  }
  return found.taken();
}

}  // namespace bound
