"""What the scores that look at gradients share: whose gradients, of what, without a trace.

Invariant: weights, gradients (`.grad`), buffers and modes of the model are as before, whatever
happens inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from impcore.masks import masks_of
from impcore.ops.checks import check_plain
from impcore.scope import find_scope
from impcore.unwrap import unwrap

Loss = Callable[[nn.Module, Any], Tensor]
"""From the model and one item of the data to the item's loss, a scalar."""


def targets(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that scores are for: the masked ones; without masks, the default scope.

    Raises:
        ValueError: there is nothing to prune.
        NotImplementedError: a parameter is sharded, sparse or on the meta device, by name.
    """
    masks = masks_of(model)
    if masks is None:
        return find_scope(unwrap(model), None, None).parameters
    named = dict(zip(masks.names, masks.parameters, strict=True))
    for name, p in named.items():  # may have become something else since
        check_plain(p, name)
    return named


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """`targets`, for scores that need their gradients.

    Raises:
        ValueError: there is nothing to prune, or a masked parameter has been frozen since.
        NotImplementedError: as `targets`.
    """
    named = targets(model)
    frozen = [name for name, p in named.items() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"frozen parameters (requires_grad=False) have no gradient to be scored by: "
            f"{', '.join(frozen)}; make new masks with impcore.Masks(model), which leave them out"
        )
    return named


def alive(model: nn.Module) -> dict[str, Tensor]:
    """The masks of `targets` as bool tensors; empty without masks."""
    return dict(masks_of(model) or {})


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Gives buffers (running statistics) and training modes back at the end; gradients are on."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def check_batches(data: object, loss: object) -> None:
    """Raises TypeError, naming it, unless there are data to go through and a loss to call."""
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise TypeError(f"data must hold batches to go through, not be a {type(data).__name__}")
    if not callable(loss):
        kind = type(loss).__name__
        raise TypeError(f"loss must be a function of the model and a batch, not a {kind}")


def repeatable(data: Iterable[Any]) -> Iterable[Any]:
    """The data, as a list if it can be gone through only once."""
    return list(data) if iter(data) is data else data


def losses(model: nn.Module, data: Iterable[Any], loss: Loss) -> Iterator[Tensor]:
    """The loss of each item of the data.

    Raises:
        ValueError: the data holds nothing, or a loss has no gradient.
        TypeError: the loss is not a scalar tensor.
    """
    found = False
    for batch in data:
        found = True
        value = loss(model, batch)
        if not isinstance(value, Tensor) or value.numel() != 1:
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"loss must return a scalar tensor, not {kind}")
        if not value.requires_grad:
            raise ValueError("loss has no gradient: it was detached, or computed under no_grad")
        yield value.reshape(())
    if not found:
        raise ValueError("data holds no batch to score weights on")


def gradient(value: Tensor, parameters: list[nn.Parameter], *, graph: bool = False) -> list[Tensor]:
    """The gradient of a scalar; zeros for what it does not depend on."""
    # The gradient of a loss that is linear in the weights does not depend on them.
    if not value.requires_grad:
        return [torch.zeros_like(p, requires_grad=False) for p in parameters]
    return list(
        torch.autograd.grad(
            value, parameters, create_graph=graph, allow_unused=True, materialize_grads=True
        )
    )


def summed(model: nn.Module, data: Iterable[Any], loss: Loss) -> dict[str, Tensor]:
    """The gradient of the sum of all losses, by parameter name, in float32."""
    named = trained(model)
    parameters = list(named.values())
    total = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in parameters]
    for value in losses(model, data, loss):
        for sum_, part in zip(total, gradient(value, parameters), strict=True):
            sum_ += part
    return dict(zip(named, total, strict=True))
