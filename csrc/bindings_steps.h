// What the binding of an optimiser's step begins with, on every backend.
#pragma once

#include <optional>
#include <vector>

#include "bindings_tensors.h"
#include "step_tensors.h"

namespace bound {

using Addresses = std::vector<int64_t>;

// What Python gives as an address.
template <class T>
T* pointer(int64_t address) {
  return reinterpret_cast<T*>(address);
}

// Where a tensor of one element lies, and whether that is a double (else a float).
struct Number {
  int64_t address;
  bool is_double;
};

// Of a tensor that may be None.
template <class T>
T* pointer_if(const std::optional<Number>& number) {
  return number ? pointer<T>(number->address) : nullptr;
}

// Addresses of the tensors of a step and of the mask; states: a list a kind; counts: of the steps
// that each tensor has taken, if they are counted.
struct StepArgs {
  int32_t dtype;
  Addresses weights, grads;
  std::vector<Addresses> states;
  Addresses counts, numels, words;
  int64_t mask;
};

inline impcore::StepTensors tensors_of(const StepArgs& args) {
  return {static_cast<impcore::DType>(args.dtype),
          args.weights,
          args.grads,
          args.states,
          args.numels,
          args.words,
          pointer<const uint32_t>(args.mask)};
}

}  // namespace bound

template <>
struct pybind11::detail::type_caster<bound::Number> {
  PYBIND11_TYPE_CASTER(bound::Number, const_name("Tensor"));

  bool load(handle tensor, bool) {
    bound::TensorView view;
    if (bound::reader().read(tensor, &view)) {
      value = {view.address(), view.dtype_bits == 64};
      return true;
    }
    if (!hasattr(tensor, "data_ptr")) return false;
    value = {tensor.attr("data_ptr")().cast<int64_t>(),
             tensor.attr("element_size")().cast<int64_t>() == 8};
    return true;
  }
};
