// One step of SGD over many tensors: weight, gradient, momentum and mask bits are each read once.
#include "masked_step.cuh"

namespace impcore::cuda {

namespace {

template <int kMomenta>
struct Sgd {
  static constexpr int kStates = kMomenta;
  using Options = SgdOptions;

  template <class V>
  static __device__ __forceinline__ SgdStep<V, kMomenta> step(const Options& o, int) {
    return SgdStep<V, kMomenta>(SgdScalars{value_of(o.lr), o.momentum, o.dampening,
                                           value_of(o.weight_decay), o.nesterov, o.maximize,
                                           o.first != nullptr && *o.first != 0, o.grad_scale});
  }
};

// A launch of its own: every block of the step reads the flag.
__global__ void clear(uint8_t* first, const float* found_inf) {
  if (!is_skipped(found_inf)) *first = 0;
}

}  // namespace

void masked_sgd(const StepTensors& tensors, const SgdOptions& options, Stream stream) {
  with_step_dtype(tensors.dtype, [&](auto dtype) {
    using T = decltype(dtype);
    if (tensors.states.empty()) {
      launch_steps<T, Sgd<0>>(tensors, options, stream);
    } else {
      launch_steps<T, Sgd<1>>(tensors, options, stream);
    }
  });
  if (options.first != nullptr) launch(clear, 1, 1, stream, options.first, options.found_inf);
}

}  // namespace impcore::cuda
