"""One step of SGD by the CUDA kernel."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import library
from impcore.ops.cuda import launch
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
    with launch.on(on.params[0].device) as stream:
        _C.cuda.masked_sgd(
            on.args(),
            lr,
            momentum,
            dampening,
            weight_decay,
            nesterov,
            maximize,
            first,
            grad_scale,
            found_inf,
            stream,
        )
    if first is not None:
        library.written([first])
