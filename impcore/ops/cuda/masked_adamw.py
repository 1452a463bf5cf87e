"""One step of AdamW by the CUDA kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import native
from impcore.ops.cuda import launch


def masked_adamw(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    exp_avgs: list[torch.Tensor],
    exp_avg_sqs: list[torch.Tensor],
    max_exp_avg_sqs: list[torch.Tensor],
    steps: list[torch.Tensor],
    mask: torch.Tensor | None,
    words: list[int],
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
    states = [exp_avgs, exp_avg_sqs, *([max_exp_avg_sqs] if max_exp_avg_sqs else [])]
    with launch.on(params[0].device) as stream:
        constants = lr.new_empty(2 * len(params), dtype=torch.float64)
        _C.cuda.masked_adamw(
            native.step_args(params, grads, states, mask, words),
            native.addresses(steps),
            native.number(lr),
            native.number(beta1),
            native.number(beta2),
            native.number(weight_decay),
            eps,
            maximize,
            native.address(grad_scale),
            native.address(found_inf),
            constants.data_ptr(),
            stream,
        )
