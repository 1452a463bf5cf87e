"""One step of AdamW in float64, rounded once to the storage dtype, by torch.where."""

from __future__ import annotations

import torch

from impcore.ops.reference import storage
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
    rate, b1, b2 = float(lr.item()), float(beta1.item()), float(beta2.item())
    scale = 1.0 if grad_scale is None else float(grad_scale.item())
    exp_avgs, exp_avg_sqs, *largest = on.states
    stepped = zip(on.params, on.grads, on.words, strict=True)
    for i, (param, grad, word) in enumerate(stepped):
        t = float(on.counts[i].add_(1).item())
        update = storage.flat(grad).double() / scale
        if maximize:
            update = -update
        m = b1 * storage.flat(exp_avgs[i]).double() + (1 - b1) * update
        v = b2 * storage.flat(exp_avg_sqs[i]).double() + (1 - b2) * update**2
        states = [(exp_avgs[i], m), (exp_avg_sqs[i], v)]
        if largest:
            v = torch.maximum(storage.flat(largest[0][i]).double(), v)
            states.append((largest[0][i], v))
        root = (v / (1 - b2**t)).sqrt() + eps
        theta = storage.flat(param).double() * (1 - rate * float(weight_decay.item()))
        theta = theta - rate / (1 - b1**t) * m / root
        for tensor, values in [(param, theta), *states]:
            storage.flat(tensor).copy_(storage.select(values, on.mask, word))
