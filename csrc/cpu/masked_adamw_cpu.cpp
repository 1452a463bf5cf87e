// One step of AdamW over many tensors: theta, gradient, both or all three states and mask bits are
// each read once.
#include <cmath>

#include "masked_step.h"

namespace impcore::cpu {

namespace {

// The constants of a tensor's t-th step, in double until the last rounding.
AdamWScalars scalars_of(const AdamWOptions& o, double t) {
  return {o.lr / (1 - std::pow(o.beta1, t)),
          1 / std::sqrt(1 - std::pow(o.beta2, t)),
          1 - o.lr * o.weight_decay,
          o.beta1,
          o.beta2,
          o.eps,
          o.amsgrad,
          o.maximize,
          o.grad_scale};
}

}  // namespace

void masked_adamw(const StepTensors& tensors, const std::vector<int64_t>& steps,
                  const AdamWOptions& options, int threads) {
  const ChunkKernels& kernels = chunk_kernels(tensors.dtype);
  std::vector<AdamWScalars> scalars;
  scalars.reserve(steps.size());
  for (const int64_t step : steps) {
    float& taken = *reinterpret_cast<float*>(step);
    taken += 1;
    scalars.push_back(scalars_of(options, double(taken)));
  }
  for_step_chunks(tensors, threads,
                  [&](size_t i, const StepRows& rows, const uint32_t* mask, int64_t length) {
                    kernels.adamw(rows, mask, length, scalars[i]);
                  });
}

}  // namespace impcore::cpu
