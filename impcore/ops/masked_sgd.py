"""One step of SGD over many tensors: weight, gradient, momentum and mask are each read once.

Invariants: after a step weight and momentum are exactly +0 wherever the mask is 0, whatever the
gradient holds there (a selection, never a multiplication); a step that `found_inf` skips touches
nothing. Everything that may change from step to step lives in tensors, so that a captured graph can
replay it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore.ops import masked_step
from impcore.ops.step_tensors import StepTensors


def masked_sgd(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    momenta: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    words: Sequence[int],
    *,
    lr: torch.Tensor,
    momentum: float,
    dampening: float,
    weight_decay: torch.Tensor,
    nesterov: bool,
    maximize: bool,
    first: torch.Tensor | None,
    grad_scale: torch.Tensor | None = None,
    found_inf: torch.Tensor | None = None,
) -> None:
    """Updates weights and momenta in place as torch.optim.SGD does, in float32 at least.

    Args:
        params: float32, bfloat16, float16 or (unmasked) float64; one dtype, one device, dense.
        grads: of the params' sizes, dtype and storage order.
        momenta: likewise; empty if and only if momentum is 0.
        mask: int32 mask arena, or None.
        words: for each param the first arena word of its mask, or -1 for none.
        lr, weight_decay: float64 or float32, 0-dim; the latter is of an L2 penalty.
        momentum: >= 0.
        dampening: of the gradient in the momentum.
        nesterov: step by the gradient plus `momentum` times the momentum, not by that alone.
        maximize: ascend instead of descend.
        first: bool or uint8, one element: while it is 1 a momentum becomes the gradient itself,
            without dampening. Cleared by the first step that is not skipped. None: it is 0.
        grad_scale: float32, one element; gradients are divided by it.
        found_inf: float32, one element; unless it is 0, nothing is touched.

    Raises:
        TypeError: a dtype is not one of these, or differs. LayoutError: gaps or overlaps in memory.
        ValueError: numbers, sizes, devices, storage orders or mask words that do not fit.
        NotImplementedError: sparse params, or subclasses such as DTensor.

    Source: torch.optim.SGD; Sutskever et al., "On the importance of initialization and momentum in
    deep learning" (ICML 2013), for the momentum.
    """
    if momentum == 0 and momenta:
        raise ValueError(f"momentum is 0, so there must be no momenta, not {len(momenta)}")
    kept = {"momenta": momenta} if momentum != 0 else {}
    masked_step.check_lists(params, {"grads": grads, **kept})
    if not params:
        return
    device = params[0].device
    masked_step.check_words(params, mask, words)
    masked_step.check_scalar(lr, masked_step.NUMBERS, device, "lr")
    masked_step.check_scalar(weight_decay, masked_step.NUMBERS, device, "weight_decay")
    masked_step.check_scalar(first, (torch.bool, torch.uint8), device, "first")
    masked_step.check_scaler(grad_scale, found_inf, device)
    states = [list(momenta)] if momenta else []
    unchecked(
        StepTensors(list(params), list(grads), states, [], mask, list(words)),
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        maximize,
        first,
        grad_scale,
        found_inf,
    )


unchecked = masked_step.define(
    "masked_sgd(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] momenta, Tensor? mask,"
    " int[] words, Tensor lr, float momentum, float dampening, Tensor weight_decay, bool nesterov,"
    " bool maximize, Tensor(c!)? first, Tensor? grad_scale, Tensor? found_inf) -> ()",
    states=1,
    counted=False,
)
