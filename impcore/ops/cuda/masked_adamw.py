"""One step of AdamW by the CUDA kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops.cuda import launch
from impcore.ops.step_tensors import StepTensors


def masked_adamw(
    on: StepTensors,
    lr: torch.Tensor,
    beta1: torch.Tensor,
    beta2: torch.Tensor,
    weight_decay: torch.Tensor,
    eps: float,
    maximize: bool,
    grad_scale: torch.Tensor | None,
    found_inf: torch.Tensor | None,
) -> None:
    """torch.optim.AdamW's update; where the mask is 0, weight and states become +0."""
    with launch.on(on.params[0].device) as stream:
        constants = lr.new_empty(2 * len(on.params), dtype=torch.float64)
        _C.cuda.masked_adamw(
            on.args(),
            lr,
            beta1,
            beta2,
            weight_decay,
            eps,
            maximize,
            grad_scale,
            found_inf,
            constants.data_ptr(),
            stream,
        )
