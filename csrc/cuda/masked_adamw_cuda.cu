// One step of AdamW over many tensors: theta, gradient, both or all three states and mask bits are
// each read once.
#include "masked_step.cuh"

namespace impcore::cuda {

namespace {

// What depends on a tensor's count of steps.
struct Counted {
  double step_size, inverse_root;
};

template <bool kAmsgrad>
struct AdamW {
  static constexpr int kStates = kAmsgrad ? 3 : 2;
  struct Options : AdamWOptions {
    const Counted* counted;  // one a tensor
  };

  template <class V>
  static __device__ __forceinline__ AdamWStep<V, kAmsgrad> step(const Options& o, int tensor) {
    const Counted& counted = o.counted[tensor];
    return AdamWStep<V, kAmsgrad>(AdamWScalars{
        counted.step_size, counted.inverse_root, 1 - value_of(o.lr) * value_of(o.weight_decay),
        value_of(o.beta1), value_of(o.beta2), o.eps, kAmsgrad, o.maximize, o.grad_scale});
  }
};

// Some consecutive tensors' counts, as arguments of a launch.
struct Counts {
  static constexpr int kTensors = 448;
  int64_t steps[kTensors];
};

// Counts a step, and computes in double what depends on it: a launch of its own, for every block of
// the step needs it.
__global__ void count_steps(const __grid_constant__ Counts counts, int tensors,
                            const __grid_constant__ AdamWOptions o, Counted* out) {
  if (is_skipped(o.found_inf)) return;
  for (int i = int(threadIdx.x); i < tensors; i += int(blockDim.x)) {
    float* step = reinterpret_cast<float*>(counts.steps[i]);
    const float taken = *step + 1;
    *step = taken;
    const double t = double(taken);
    out[i] = Counted{value_of(o.lr) / (1 - pow(value_of(o.beta1), t)),
                     1 / ::sqrt(1 - pow(value_of(o.beta2), t))};
  }
}

template <bool kAmsgrad>
void launch_adamw(const StepTensors& tensors, const AdamWOptions& options, const Counted* counted,
                  Stream stream) {
  with_step_dtype(tensors.dtype, [&](auto dtype) {
    launch_steps<decltype(dtype), AdamW<kAmsgrad>>(tensors, {options, counted}, stream);
  });
}

}  // namespace

void masked_adamw(const StepTensors& tensors, const std::vector<int64_t>& steps,
                  const AdamWOptions& options, double* scratch, Stream stream) {
  auto* counted = reinterpret_cast<Counted*>(scratch);
  for (size_t start = 0; start < steps.size(); start += Counts::kTensors) {
    const size_t count = std::min(steps.size() - start, size_t(Counts::kTensors));
    Counts counts = {};
    std::copy_n(steps.begin() + int64_t(start), count, counts.steps);
    launch(count_steps, 1, kThreads, stream, counts, int(count), options, counted + start);
  }
  if (tensors.states.size() == 3) {
    launch_adamw<true>(tensors, options, counted, stream);
  } else {
    launch_adamw<false>(tensors, options, counted, stream);
  }
}

}  // namespace impcore::cuda
