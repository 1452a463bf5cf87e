"""What a step does for one group of parameters: tensors side by side in one storage order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from impcore.ops import checks
from impcore.ops.step_tensors import StepTensors

Layout = tuple[torch.dtype, torch.device, tuple[int, ...], int]
"""What must be equal for tensors to be read side by side in storage order; see `describe`."""

T = TypeVar("T")


class Work(NamedTuple):
    """One group's parameters that have gradients, for one step.

    Gradients are in their parameters' storage order; words[i] is a parameter's first word in the
    arena `mask`, or -1; described: `describe(params)`.
    """

    params: list[Tensor]
    grads: list[Tensor]
    words: list[int]
    mask: Tensor | None
    described: list[Layout]


class Kept(NamedTuple):
    """What the optimiser keeps of the parameters of a `Work`, in their order.

    states: a list for each kind of state that the group's options need; counts: of steps, if the
    optimiser counts them; parameters of different flags need different launches, no flags at all
    are as many of None.
    """

    states: list[list[Tensor]]
    counts: list[Tensor]
    flags: list[Tensor | None]


Launch = tuple[StepTensors, Tensor | None]
"""What one call of the op steps, and the flag of all of that."""


def describe(tensors: Sequence[Tensor]) -> list[Layout]:
    """Each tensor's dtype, device, strides and number of elements."""
    return [(t.dtype, t.device, t.stride(), t.numel()) for t in tensors]


def like(param: Tensor, values: Tensor) -> Tensor:
    """The values in the parameter's storage order, dtype and device: themselves, or a copy.

    Raises:
        ValueError: another shape.
    """
    if values.shape != param.shape:
        raise ValueError(
            f"a loaded state has shape {tuple(values.shape)}, its parameter {tuple(param.shape)}"
        )
    if describe([values]) == describe([param]) and not checks.is_lazy(values):
        return values
    return torch.empty_like(param).copy_(values)


def launches(todo: Work, kept: Kept) -> list[Launch]:
    """Splits a step into launches, of one dtype, device and flag each."""
    # torch.compile of PyTorch 2.11 does not take id(None).
    flags = [None if flag is None else id(flag) for flag in kept.flags or [None] * len(todo.params)]
    keys = [(p.dtype, p.device, flag) for p, flag in zip(todo.params, flags, strict=True)]
    found: dict[tuple[torch.dtype, torch.device, int | None], list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return [_pick(todo, kept, batch) for batch in found.values()]


def _pick(todo: Work, kept: Kept, batch: list[int]) -> Launch:
    def of(values: list[T]) -> list[T]:
        return [values[i] for i in batch] if values else []

    words = of(todo.words)
    mask = todo.mask if max(words) >= 0 else None
    states = [of(values) for values in kept.states]
    on = StepTensors(of(todo.params), of(todo.grads), states, of(kept.counts), mask, words)
    return on, kept.flags[batch[0]] if kept.flags else None


def is_dense(tensor: Tensor) -> bool:
    """As checks.is_dense, but quicker for the usual layouts."""
    return (
        tensor.is_contiguous()
        or tensor.is_contiguous(memory_format=torch.channels_last)
        or checks.is_dense(tensor)
    )


def check_grad(param: Tensor, grad: Tensor, name: str) -> None:
    """Raises unless a dense gradient of the parameter's dtype, device and shape (by its name).

    Raises:
        NotImplementedError: it is sparse. ValueError: it does not fit.
    """
    if grad.layout is not torch.strided:
        raise NotImplementedError(
            f"the gradient of {name} has layout {grad.layout}; only dense gradients can be stepped "
            "(nn.Embedding makes them with sparse=False)"
        )
    if (grad.dtype, grad.device, grad.shape) != (param.dtype, param.device, param.shape):
        raise ValueError(
            f"the gradient of {name} is {grad.dtype} of shape {tuple(grad.shape)} on "
            f"{grad.device}, the parameter {param.dtype} of shape {tuple(param.shape)} on "
            f"{param.device}"
        )
