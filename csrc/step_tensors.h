// The tensors of an optimiser's step, as the binding hands them to a backend.
#pragma once

#include <cstdint>
#include <vector>

#include "keys.h"

namespace impcore {

// Lists of addresses, all of one length. states: what the optimiser keeps of each tensor.
// words[i] is tensor i's first mask word, or -1 for no mask.
struct StepTensors {
  DType dtype;
  const std::vector<int64_t>&weights, &grads;
  const std::vector<std::vector<int64_t>>& states;
  const std::vector<int64_t>&numels, &words;
  const uint32_t* mask;
};

}  // namespace impcore
