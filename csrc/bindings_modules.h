// A model's tree of modules as Python holds it, walked without its names being put together.
// Invariant: what is said to be unchanged is. Needs the GIL.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bindings_tensors.h"

namespace bound {

// A module's dictionary of children or parameters, borrowed; null where it has none of that name.
inline PyObject* dict_of(pybind11::handle module, PyObject* name) {
  // Not as an attribute, for which a module's type is searched, and its own __getattr__.
  const auto all =
      pybind11::reinterpret_steal<pybind11::object>(PyObject_GenericGetDict(module.ptr(), nullptr));
  if (!all) PyErr_Clear();
  PyObject* found = all ? PyDict_GetItem(all.ptr(), name) : nullptr;
  return found && PyDict_Check(found) ? found : nullptr;
}

inline PyObject* children_name() {
  static PyObject* const name = PyUnicode_InternFromString("_modules");
  return name;
}

inline PyObject* parameters_name() {
  static PyObject* const name = PyUnicode_InternFromString("_parameters");
  return name;
}

// All that a tree of modules is but for its tensors' values: types, names, and of every parameter
// the object, its type and its memory. Types and names are known by their addresses, for which
// they must be kept alive; so must parameters whose identity matters.
class ModuleTree {
 public:
  // None where it cannot be read; else with the list of types and names.
  static std::optional<std::pair<ModuleTree, pybind11::list>> read(const pybind11::object& root) {
    ModuleTree tree;
    pybind11::list kept;
    const bool whole = walk(root, [&](int64_t token, PyObject* object) {
      if (object) kept.append(pybind11::handle(object));
      tree.tokens_.push_back(token);
      return true;
    });
    if (!whole) return std::nullopt;
    return std::pair(std::move(tree), std::move(kept));
  }

  // Whether the tree is now what it was.
  bool is_that_of(const pybind11::object& root) const {
    size_t at = 0;
    const bool same = walk(root, [&](int64_t token, PyObject*) {
      return at < tokens_.size() && tokens_[at++] == token;
    });
    return same && at == tokens_.size();
  }

 private:
  std::vector<int64_t> tokens_;

  // tell(token, object) for all that there is to say; the object is what must be kept, or null.
  // False as soon as a call is, or something cannot be read.
  template <class Tell>
  static bool walk(const pybind11::object& root, const Tell& tell) {
    const auto named = [&](PyObject* object) {
      return tell(reinterpret_cast<int64_t>(object), object);
    };
    std::vector<pybind11::object> modules{root};
    TensorView view;
    for (size_t m = 0; m < modules.size(); ++m) {  // which grows
      PyObject* const children = dict_of(modules[m], children_name());
      PyObject* const parameters = dict_of(modules[m], parameters_name());
      if (!children || !parameters) return false;
      if (!named(reinterpret_cast<PyObject*>(Py_TYPE(modules[m].ptr())))) return false;
      PyObject *name = nullptr, *value = nullptr;
      for (Py_ssize_t at = 0; PyDict_Next(children, &at, &name, &value);) {
        if (value == Py_None) continue;
        if (!named(name)) return false;
        modules.push_back(pybind11::reinterpret_borrow<pybind11::object>(value));
      }
      if (!tell(0, nullptr)) return false;  // no more children
      for (Py_ssize_t at = 0; PyDict_Next(parameters, &at, &name, &value);) {
        if (value == Py_None) continue;
        if (!reader().read(value, &view) || !named(name)) return false;
        if (!tell_of(value, view, tell)) return false;
      }
    }
    return true;
  }

  template <class Tell>
  static bool tell_of(PyObject* tensor, const TensorView& view, const Tell& tell) {
    const int64_t kind =
        int64_t(view.dtype_code) << 24 | int64_t(view.dtype_bits) << 16 | int64_t(view.dtype_lanes);
    const int64_t place = int64_t(view.device_type) << 32 | int64_t(uint32_t(view.device_id));
    bool told = tell(reinterpret_cast<int64_t>(tensor), nullptr) &&
                tell(reinterpret_cast<int64_t>(Py_TYPE(tensor)), nullptr) &&
                tell(view.address(), nullptr) && tell(kind, nullptr) && tell(place, nullptr) &&
                tell(view.ndim, nullptr);
    for (int32_t d = 0; told && d < view.ndim; ++d) {
      told = tell(view.shape[d], nullptr) && tell(view.strides[d], nullptr);
    }
    return told;
  }
};

// How parameters are reached from a model, through each module once. Modules are numbered, the
// model itself 0: each further one as its parent's number and its name there, each parameter
// likewise.
class ParameterPaths {
 public:
  using Step = std::pair<int64_t, pybind11::str>;

  ParameterPaths(std::vector<Step> modules, std::vector<Step> parameters)
      : modules_(std::move(modules)), parameters_(std::move(parameters)) {}

  // Whether they lead to these very objects.
  bool lead_to(const pybind11::object& root, const pybind11::list& found) const {
    if (found.size() != parameters_.size()) return false;
    std::vector<pybind11::object> reached{root};
    reached.reserve(modules_.size() + 1);
    Holder children(children_name()), parameters(parameters_name());
    for (const auto& [parent, name] : modules_) {
      PyObject* module = children.find(reached, parent, name);
      if (!module) return false;
      reached.push_back(pybind11::reinterpret_borrow<pybind11::object>(module));
    }
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const auto& [owner, name] = parameters_[i];
      if (parameters.find(reached, owner, name) != PyList_GET_ITEM(found.ptr(), Py_ssize_t(i))) {
        return false;
      }
    }
    return true;
  }

 private:
  // Looks names up in modules' dictionaries, most often in the one of the time before.
  class Holder {
   public:
    explicit Holder(PyObject* which) : which_(which) {}

    // Borrowed; null where there is none.
    PyObject* find(const std::vector<pybind11::object>& modules, int64_t module,
                   const pybind11::str& name) {
      if (module != held_) {
        dict_ = dict_of(modules[size_t(module)], which_);
        held_ = module;
      }
      return dict_ ? PyDict_GetItem(dict_, name.ptr()) : nullptr;
    }

   private:
    PyObject* which_;
    int64_t held_ = -1;
    PyObject* dict_ = nullptr;
  };

  std::vector<Step> modules_, parameters_;
};

}  // namespace bound
