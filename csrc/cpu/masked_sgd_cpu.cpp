// One step of SGD over many tensors: theta, gradient, momentum and mask bits are each read once.
#include "masked_step.h"

namespace impcore::cpu {

void masked_sgd(const StepTensors& tensors, const SgdScalars& scalars, int threads) {
  const ChunkKernels& kernels = chunk_kernels(tensors.dtype);
  for_step_chunks(tensors, threads,
                  [&](size_t, const StepRows& rows, const uint32_t* mask, int64_t length) {
                    kernels.sgd(rows, mask, length, scalars);
                  });
}

}  // namespace impcore::cpu
