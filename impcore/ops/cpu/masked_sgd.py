"""One step of SGD by the native CPU kernel."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops.step_tensors import StepTensors


def masked_sgd(
    on: StepTensors,
    lr: torch.Tensor,
    momentum: float,
    dampening: float,
    weight_decay: torch.Tensor,
    nesterov: bool,
    maximize: bool,
    first: torch.Tensor | None,
    grad_scale: torch.Tensor | None,
    found_inf: torch.Tensor | None,
) -> None:
    """torch.optim.SGD's update; where the mask is 0, weight and momentum become +0."""
    if found_inf is not None and found_inf.item() != 0:
        return
    _C.masked_sgd(
        on.args(),
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        maximize,
        first is not None and bool(first.item()),
        grad_scale,
        torch.get_num_threads(),  # the kernel wakes as many as have a chunk each
    )
    if first is not None:
        first.zero_()
