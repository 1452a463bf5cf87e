"""One step of SGD in float64, rounded once to the storage dtype, by torch.where."""

from __future__ import annotations

import torch

from impcore.ops.reference import storage
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
    starts = first is not None and bool(first.item())
    scale = 1.0 if grad_scale is None else float(grad_scale.item())
    stepped = zip(on.params, on.grads, on.words, strict=True)
    for i, (param, grad, word) in enumerate(stepped):
        theta = storage.flat(param).double()
        update = storage.flat(grad).double() / scale
        if maximize:
            update = -update
        update = update + float(weight_decay.item()) * theta
        if momentum != 0:
            buffer = storage.flat(on.states[0][i])
            velocity = update
            if not starts:
                velocity = momentum * buffer.double() + (1 - dampening) * update
            buffer.copy_(storage.select(velocity, on.mask, word))
            update = update + momentum * velocity if nesterov else velocity
        storage.flat(param).copy_(storage.select(theta - float(lr.item()) * update, on.mask, word))
    if first is not None:
        first.zero_()
