// One walk over an optimiser's group: what a step is applied to, and whether that is as in most
// steps. Needs the GIL.
//
// After a backward pass nothing of all this is in the cache, and to wait for one object after
// another would take longer than all else: so the walk goes over the group several times, and each
// time has the cache fetch what the next one looks at.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bindings_places.h"
#include "bindings_steps.h"

namespace bound {

// What a step is applied to, as it is found.
class Gathering {
 public:
  // keys: under which an optimiser keeps a parameter's states; counter: and its count of steps, or
  // None.
  Gathering(const std::vector<pybind11::str>& keys, const pybind11::object& counter,
            const Places* places)
      : places_(places), states_(keys.size()), counted_(!counter.is_none()) {
    for (const pybind11::str& key : keys) keys_.push_back(key.ptr());
    if (counted_) keys_.push_back(counter.ptr());
    args_.states.resize(keys.size());
  }

  // False unless at least one parameter has a gradient, and all that have one can be read, are
  // dense, of one dtype and device, and so are their gradients, side by side with them.
  bool add_params(PyObject* params) {
    find_grads(params);
    const size_t count = params_.size();
    views_.resize(count);
    for (std::vector<int64_t>* each : {&args_.weights, &args_.grads, &args_.numels, &args_.words}) {
      each->reserve(count);
    }
    for (size_t i = 0; i < count; ++i) {
      if (!add(PyList_GET_ITEM(params_.ptr(), i), PyList_GET_ITEM(grads_.ptr(), i), &views_[i])) {
        return false;
      }
    }
    return count > 0;
  }

  // The same of those parameters' states, which lie side by side with them, and of their counts, a
  // float32 each on their device. `state` is looked through in the order of its keys, which must be
  // the parameters'; to look a tensor up runs Python.
  bool add_states(PyObject* state) {
    if (keys_.empty()) return true;
    std::vector<PyObject*> values;  // those under one key after those under another
    if (!find_values(state, &values)) return false;
    for (PyObject* value : values) reader().fetch(value);
    const size_t count = views_.size();
    for (size_t k = 0; k < keys_.size(); ++k) {
      const bool counts = counted_ && k + 1 == keys_.size();
      pybind11::list& list = counts ? counts_ : states_[k];
      Addresses& addresses = counts ? args_.counts : args_.states[k];
      addresses.reserve(count);
      for (size_t i = 0; i < count; ++i) {
        PyObject* value = values[k * count + i];
        TensorView view;
        if (!reader().read(value, &view)) return false;
        if (!(counts ? is_float_beside(views_[i], view) : side_by_side(views_[i], view))) {
          return false;
        }
        list.append(pybind11::handle(value));
        addresses.push_back(view.address());
      }
    }
    return true;
  }

  pybind11::object taken() {
    const pybind11::object mask = masked_ > 0 ? places_->arena() : pybind11::none();
    args_.mask = masked_ > 0 ? arena_.address() : 0;
    pybind11::list states;
    for (const pybind11::list& state : states_) states.append(state);
    return pybind11::make_tuple(params_, grads_, states, counts_, mask, pybind11::none(),
                                std::move(args_), masked_);
  }

 private:
  // The parameters that have gradients, and these.
  void find_grads(PyObject* params) {
    static PyObject* const kGrad = PyUnicode_InternFromString("grad");
    const Py_ssize_t count = PyList_GET_SIZE(params);
    for (Py_ssize_t i = 0; i < count; ++i) __builtin_prefetch(PyList_GET_ITEM(params, i));
    for (Py_ssize_t i = 0; i < count; ++i) reader().fetch(PyList_GET_ITEM(params, i));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params); ++i) {  // a subclass may run Python
      const auto param = pybind11::reinterpret_borrow<pybind11::object>(PyList_GET_ITEM(params, i));
      const auto grad =
          pybind11::reinterpret_steal<pybind11::object>(PyObject_GetAttr(param.ptr(), kGrad));
      if (!grad) throw pybind11::error_already_set();
      if (grad.is_none()) continue;
      reader().fetch(grad.ptr());
      params_.append(param);
      grads_.append(grad);
    }
  }

  bool add(PyObject* param, PyObject* grad, TensorView* view) {
    TensorView other;
    if (!reader().read(param, view) || !reader().read(grad, &other) ||
        !side_by_side(*view, other) || may_be_negated(param, *view) ||
        may_be_negated(grad, other) || lacks_memory(other)) {
      return false;
    }
    if (args_.weights.empty() && !begin(*view)) return false;
    if (!same_kind(views_[0], *view) || !place(param, *view)) return false;
    args_.weights.push_back(view->address());
    args_.grads.push_back(other.address());
    args_.numels.push_back(view->numel());
    return true;
  }

  bool begin(const TensorView& first) {
    const std::optional<int32_t> dtype = dtype_of(first);
    args_.dtype = dtype.value_or(0);
    return dtype && (!places_ || places_->read(&arena_));
  }

  bool place(PyObject* param, const TensorView& view) {
    const std::optional<int64_t> word = places_ ? places_->word_of(param, view) : -1;
    if (!word) return false;
    args_.words.push_back(*word);
    if (*word < 0) return true;
    ++masked_;
    return is_maskable(view) && view.device_type == arena_.device_type &&
           view.device_id == arena_.device_id;
  }

  // Borrowed: what the parameters' states hold under each key. False unless all is there. Runs no
  // Python.
  bool find_values(PyObject* state, std::vector<PyObject*>* values) const {
    std::vector<PyObject*> kept;
    kept.reserve(views_.size());
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t place = 0;
    for (const pybind11::handle param : params_) {
      do {
        if (!PyDict_Next(state, &place, &key, &value)) return false;
      } while (key != param.ptr());
      __builtin_prefetch(value);
      kept.push_back(value);
    }
    for (PyObject* each : kept) {
      if (!PyDict_Check(each)) return false;
      const char* table = reinterpret_cast<char*>(reinterpret_cast<PyDictObject*>(each)->ma_keys);
      for (int line = 0; line < 2; ++line) __builtin_prefetch(table + 64 * line);
    }
    values->reserve(kept.size() * keys_.size());
    for (PyObject* wanted : keys_) {
      for (PyObject* each : kept) {
        value = PyDict_GetItem(each, wanted);
        if (!value) return false;
        __builtin_prefetch(value);
        values->push_back(value);
      }
    }
    return true;
  }

  const Places* places_;
  std::vector<PyObject*> keys_;    // of states, and then the counter
  std::vector<TensorView> views_;  // of params_
  TensorView arena_;
  pybind11::list params_, grads_, counts_;
  std::vector<pybind11::list> states_;
  const bool counted_;
  StepArgs args_{};
  int64_t masked_ = 0;  // params that have a mask
};

// What a step is applied to, of a group's parameters that have gradients: lists of them, of these,
// of their states under each of `keys` and of their counts of steps under `counter`, unless it is
// None; the arena if any of them is in `places`; all of that as addresses, with each one's first
// word in the arena or -1; and how many of them are in `places`.
//
// None unless all of it is there and as `Gathering` wants it.
inline pybind11::object gather(const pybind11::object& params, const pybind11::object& state,
                               const std::vector<pybind11::str>& keys,
                               const pybind11::object& counter, const Places* places) {
  if (!PyList_Check(params.ptr()) || !PyDict_Check(state.ptr())) return pybind11::none();
  Gathering found(keys, counter, places);
  const bool usual = found.add_params(params.ptr()) && found.add_states(state.ptr());
  return usual ? found.taken() : pybind11::none();
}

}  // namespace bound
