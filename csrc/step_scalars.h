// The constants of an optimiser's step, the same for all weights of a tensor.
#pragma once

namespace impcore {

struct SgdScalars {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first;
  const float* grad_scale;  // null: gradients are not scaled
};

// For one value of the step t, which begins at 1.
struct AdamWScalars {
  double step_size;     // lr / (1 - beta1^t)
  double inverse_root;  // 1 / sqrt(1 - beta2^t)
  double shrink;        // 1 - lr * weight_decay
  double beta1, beta2, eps;
  bool amsgrad, maximize;
  const float* grad_scale;  // null: gradients are not scaled
};

}  // namespace impcore
