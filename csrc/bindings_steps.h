// What the binding of an optimiser's step begins with, on every backend.
#pragma once

#include <optional>
#include <vector>

#include "bindings_tensors.h"
#include "step_tensors.h"

namespace bound {

using Addresses = std::vector<int64_t>;

// Where a tensor of one element lies, and whether that is a double (else a float); for None 0.
struct Number {
  int64_t address = 0;
  bool is_double = false;
};

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
          reinterpret_cast<const uint32_t*>(args.mask)};
}

// csrc/keys.h's DType of a tensor, if it has one.
inline std::optional<int32_t> dtype_of(const TensorView& view) {
  using impcore::DType;
  if (view.dtype_lanes != 1) return std::nullopt;
  if (view.dtype_code == 4 && view.dtype_bits == 16) return int32_t(DType::kBFloat16);
  if (view.dtype_code != 2) return std::nullopt;
  switch (view.dtype_bits) {
    case 16:
      return int32_t(DType::kFloat16);
    case 32:
      return int32_t(DType::kFloat32);
    case 64:
      return int32_t(DType::kFloat64);
    default:
      return std::nullopt;
  }
}

}  // namespace bound

template <>
struct pybind11::detail::type_caster<bound::Number> {
  PYBIND11_TYPE_CASTER(bound::Number, const_name("Tensor | None"));

  bool load(handle tensor, bool) {
    if (tensor.is_none()) return true;
    bound::TensorView view;
    value = bound::reader().read(tensor, &view)
                ? bound::Number{view.address(), view.dtype_bits == 64}
                : bound::Number{tensor.attr("data_ptr")().cast<int64_t>(),
                                tensor.attr("element_size")().cast<int64_t>() == 8};
    return true;
  }
};
