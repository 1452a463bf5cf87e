"""GraSP: what a weight does for the gradient flow (Wang, Zhang, Grosse, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from impcore.scores.gradients import (
    Loss,
    alive,
    check_batches,
    gradient,
    losses,
    repeatable,
    summed,
    trained,
    undisturbed,
)
from impcore.unwrap import unwrap


def grasp(model: nn.Module, data: Iterable[Any], loss: Loss) -> dict[str, Tensor]:
    """w * Hg with its sign, for the sum L of the losses over `data`: float32 by parameter name.

    g is the gradient and H the Hessian of L with respect to the alive weights. Removing w changes
    the gradient's squared norm by -2 w * Hg to first order. Wang et al. 2020 (Sec. 4, Algorithm 1)
    call S(-w) = -w * Hg the score and prune its largest values, whose removal lets the gradient
    flow most; here the lowest score goes first, so it is w * Hg. Their division by the sum does not
    change the order; their temperature (logits / 200) is for `loss` to apply.

    Args:
        model: scored in the mode that it is in (theirs: training), and left as it was.
        data: batches, gone through twice (a generator is kept as a list).
        loss: from the model and a batch to a scalar that can be differentiated twice.

    Raises:
        ValueError, TypeError: there are no batches; `loss` is no function; a loss is not a scalar,
            or has no gradient; a masked parameter is frozen.
    """
    check_batches(data, loss)
    model = unwrap(model)
    named, data = trained(model), repeatable(data)
    parameters = list(named.values())
    # The fused attention kernels can be differentiated once only.
    with undisturbed(model), sdpa_kernel(SDPBackend.MATH):
        g = summed(model, data, loss)
        for name, mask in alive(model).items():
            g[name] *= mask  # a pruned weight is no parameter of the network any more
        total = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in parameters]
        for value in losses(model, data, loss):
            parts = gradient(value, parameters, graph=True)
            product = torch.stack(
                [(g[n] * part).sum() for n, part in zip(named, parts, strict=True)]
            )
            for sum_, part in zip(total, gradient(product.sum(), parameters), strict=True):
                sum_ += part
    return {
        name: p.detach().float() * hg for (name, p), hg in zip(named.items(), total, strict=True)
    }
