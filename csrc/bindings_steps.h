// What the binding of an optimiser's step begins with, on every backend.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "bindings_tensors.h"
#include "step_tensors.h"

namespace bound {

using Addresses = std::vector<int64_t>;

// The address of a scalar tensor, and whether it holds a double (else a float).
using Number = std::pair<int64_t, bool>;

// Addresses of the tensors of a step and of the mask; states: a list a kind.
struct StepArgs {
  int32_t dtype;
  Addresses weights, grads;
  std::vector<Addresses> states;
  Addresses numels, words;
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

// Appends the address of every tensor; false if one cannot be read.
inline bool append_addresses(const pybind11::list& tensors, Addresses* out) {
  TensorView view;
  out->reserve(tensors.size());
  for (const pybind11::handle tensor : tensors) {
    if (!reader().read(tensor, &view)) return false;
    out->push_back(view.address());
  }
  return true;
}

// The same from the tensors themselves; none if one of them cannot be read.
inline std::optional<StepArgs> read_step(int32_t dtype, const pybind11::list& weights,
                                         const pybind11::list& grads,
                                         const std::vector<pybind11::list>& states,
                                         const Addresses& words, int64_t mask) {
  StepArgs args{dtype, {}, {}, std::vector<Addresses>(states.size()), {}, words, mask};
  TensorView view;
  for (const pybind11::handle weight : weights) {
    if (!reader().read(weight, &view)) return std::nullopt;
    args.weights.push_back(view.address());
    args.numels.push_back(view.numel());
  }
  bool whole = append_addresses(grads, &args.grads);
  for (size_t i = 0; whole && i < states.size(); ++i)
    whole = append_addresses(states[i], &args.states[i]);
  return whole ? std::optional(std::move(args)) : std::nullopt;
}

}  // namespace bound
