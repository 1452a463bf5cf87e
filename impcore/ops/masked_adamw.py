"""One step of AdamW over many tensors: weight, gradient, states and mask are each read once.

Invariants: after a step weight and states are exactly +0 wherever the mask is 0, whatever the
gradient holds there (a selection, never a multiplication); a step that `found_inf` skips touches
nothing and is not counted. Everything that may change from step to step, the counts among it, lives
in tensors, so that a captured graph can replay it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore.ops import masked_step
from impcore.ops.step_tensors import StepTensors


def masked_adamw(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    exp_avgs: Sequence[torch.Tensor],
    exp_avg_sqs: Sequence[torch.Tensor],
    max_exp_avg_sqs: Sequence[torch.Tensor],
    steps: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    words: Sequence[int],
    *,
    lr: torch.Tensor,
    beta1: torch.Tensor,
    beta2: torch.Tensor,
    weight_decay: torch.Tensor,
    eps: float,
    maximize: bool,
    grad_scale: torch.Tensor | None = None,
    found_inf: torch.Tensor | None = None,
) -> None:
    """Updates weights and states in place as torch.optim.AdamW does, in float32 at least.

    Args:
        params: float32, bfloat16, float16 or (unmasked) float64; one dtype, one device, dense.
        grads, exp_avgs, exp_avg_sqs: of the params' sizes, dtype and storage order.
        max_exp_avg_sqs: likewise with amsgrad, empty without.
        steps: for each param how many steps it has taken: float32, one element, a tensor of its
            own. Counted up.
        mask: int32 mask arena, or None.
        words: for each param the first arena word of its mask, or -1 for none.
        lr, beta1, beta2, weight_decay: float64 or float32, 0-dim.
        eps: >= 0, added to the root in the denominator.
        maximize: ascend instead of descend.
        grad_scale: float32, one element; gradients are divided by it.
        found_inf: float32, one element; unless it is 0, nothing is touched.

    Raises:
        TypeError: a dtype is not one of these, or differs. LayoutError: gaps or overlaps in memory.
        ValueError: numbers, sizes, devices, storage orders or mask words that do not fit.
        NotImplementedError: sparse params, or subclasses such as DTensor.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2,
    without the schedule; amsgrad: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond"
    (ICLR 2018).
    """
    lists = {"grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    if max_exp_avg_sqs:
        lists["max_exp_avg_sqs"] = max_exp_avg_sqs
    masked_step.check_lists(params, lists)
    if len(steps) != len(params):
        raise ValueError(f"{len(params)} params need as many steps, not {len(steps)}")
    if not params:
        return
    device = params[0].device
    masked_step.check_words(params, mask, words)
    _check_steps(steps, device)
    numbers = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
    for name, number in numbers.items():
        masked_step.check_scalar(number, masked_step.NUMBERS, device, name)
    masked_step.check_scaler(grad_scale, found_inf, device)
    states = [list(each) for each in (exp_avgs, exp_avg_sqs, max_exp_avg_sqs) if each]
    unchecked(
        StepTensors(list(params), list(grads), states, list(steps), mask, list(words)),
        lr,
        beta1,
        beta2,
        weight_decay,
        eps,
        maximize,
        grad_scale,
        found_inf,
    )


def _check_steps(steps: Sequence[torch.Tensor], device: torch.device) -> None:
    known: dict[int, int] = {}
    for i, step in enumerate(steps):
        masked_step.check_scalar(step, (torch.float32,), device, f"steps[{i}]")
        other = known.setdefault(id(step), i)
        if other != i:
            raise ValueError(f"steps[{i}] is the same tensor as steps[{other}]; it counts for one")


unchecked = masked_step.define(
    "masked_adamw(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs,"
    " Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] max_exp_avg_sqs, Tensor(e!)[] steps, Tensor? mask,"
    " int[] words, Tensor lr, Tensor beta1, Tensor beta2, Tensor weight_decay, float eps,"
    " bool maximize, Tensor? grad_scale, Tensor? found_inf) -> ()",
    states=3,
    counted=True,
)
