// Where the bits of an optimiser's masked parameters are. Needs the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "bindings_steps.h"

namespace bound {

// Where the bits of masked parameters begin in an arena, and in which order they lie there: that of
// the parameters as this is made, of whose shapes they must still be. Held close together, as a
// step finds none of it in the cache.
class Places {
 public:
  Places(const pybind11::list& params, const Addresses& words, const pybind11::object& arena)
      : params_(params), arena_(arena) {
    for (size_t i = 0; i < words.size(); ++i) {
      const pybind11::object param = params_[i];
      TensorView view;
      readable_ = readable_ && reader().read(param, &view);
      if (!readable_) return;
      places_.push_back({param.ptr(), words[i], layouts_.size(), view.ndim});
      layouts_.insert(layouts_.end(), view.shape, view.shape + view.ndim);
      layouts_.insert(layouts_.end(), view.strides, view.strides + view.ndim);
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
    const int64_t* shape = layouts_.data() + place->layout;
    const bool same = place->ndim == view.ndim &&
                      std::equal(shape, shape + view.ndim, view.shape) &&
                      std::equal(shape + view.ndim, shape + 2 * view.ndim, view.strides);
    return same ? std::optional(place->word) : std::nullopt;
  }

 private:
  struct Place {
    PyObject* param;
    int64_t word;
    size_t layout;  // where its shape, and then its strides, are among `layouts_`
    int32_t ndim;
  };

  pybind11::list params_;
  pybind11::object arena_;
  std::vector<Place> places_;
  std::vector<int64_t> layouts_;
  bool readable_ = true;
};

}  // namespace bound
