"""SNIP: how much the loss depends on a connection (Lee, Ajanthan, Torr, ICLR 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from impcore.scores.gradients import Loss, check_batches, summed, targets, undisturbed
from impcore.unwrap import unwrap


def snip(model: nn.Module, data: Iterable[Any], loss: Loss) -> dict[str, Tensor]:
    """|w * dL/dw|, where L is the sum of the losses over `data`: float32 by parameter name.

    The connection sensitivity of Lee et al. 2019 ("SNIP", Sec. 4.1): the derivative of L(c * w)
    with respect to c at c = 1, as an absolute value. They divide it by its sum over the network,
    which does not change the order. The absolute value is that of the sum over the batches, so
    batches of equal size are like one large one.

    Args:
        model: scored in the mode that it is in (theirs: training), and left as it was.
        data: batches, gone through once.
        loss: from the model and a batch to a scalar.

    Raises:
        ValueError, TypeError: there are no batches; `loss` is no function; a loss is not a scalar,
            or has no gradient; a masked parameter is frozen.
    """
    check_batches(data, loss)
    model = unwrap(model)
    with undisturbed(model):
        gradients = summed(model, data, loss)
    named = targets(model)
    return {name: (named[name].detach().float() * g).abs() for name, g in gradients.items()}
