"""One step of AdamW by the native CPU kernel."""

from __future__ import annotations

import torch

from impcore import _C
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
    if found_inf is not None and found_inf.item() != 0:
        return
    _C.masked_adamw(
        on.args(),
        lr,
        beta1,
        beta2,
        weight_decay,
        eps,
        maximize,
        grad_scale,
        torch.get_num_threads(),  # the kernel wakes as many as have a chunk each
    )
