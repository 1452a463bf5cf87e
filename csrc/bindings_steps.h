// What the binding of an optimiser's step begins with, on every backend.
#pragma once

#include <tuple>
#include <vector>

#include "step_tensors.h"

namespace bound {

using Addresses = std::vector<int64_t>;

// A tuple in Python: dtype, weights, grads, states, numels, words, the mask's address.
using StepArgs = std::tuple<int32_t, Addresses, Addresses, std::vector<Addresses>, Addresses,
                            Addresses, int64_t>;

inline impcore::StepTensors tensors_of(const StepArgs& args) {
  const auto& [dtype, weights, grads, states, numels, words, mask] = args;
  return {static_cast<impcore::DType>(dtype),     weights, grads, states, numels, words,
          reinterpret_cast<const uint32_t*>(mask)};
}

}  // namespace bound
