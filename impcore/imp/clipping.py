"""Gradient clipping by norm for a model under masks.

Invariant: the norm is that of the gradients of what is trained: pruned weights have none, whatever
the backward pass left there, and nothing is read back to the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from impcore import ops
from impcore.optim.work import like

if TYPE_CHECKING:
    from impcore import Masks


def clip(model: nn.Module, masks: Masks, norm: float) -> Tensor:
    """Scale all gradients of `model` down to the Euclidean norm `norm` if theirs is larger.

    Gradients of pruned weights become 0 first, as they are where a mask is multiplied in the
    forward pass (BERT-Tickets clips so). Returns the norm before, 0-dimensional on the device;
    gradients that are not finite leave it so, and themselves NaN.
    """
    zero_pruned(masks)
    parameters = [p for p in model.parameters() if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(parameters, norm)


@torch.no_grad()
def zero_pruned(masks: Masks) -> None:
    """Write +0 to the gradient of every pruned weight, in one fused pass."""
    grads = []
    for parameter in masks.parameters:
        if parameter.grad is None:
            grads.append(torch.zeros_like(parameter))
        else:
            parameter.grad = like(parameter, parameter.grad)
            grads.append(parameter.grad)
    ops.rewind(masks.plan, grads, masks.words)
