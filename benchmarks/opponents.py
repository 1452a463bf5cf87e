"""What a user could pick instead of impcore, each written as its users write it.

Every opponent prunes `count` more weights of a list of tensors and zeroes them, like prune_global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import shapes
import torch
from subjects import Subject
from timing import Case, reason
from torch import nn
from torch.nn.utils import prune

FAST_UP_TO = 2 * 10**8  # weights that a GPU sorts in milliseconds

Function = Callable[[Sequence[torch.Tensor], int], None]


def _zero_below(weights: Sequence[torch.Tensor], threshold: torch.Tensor | float) -> None:
    for weight in weights:
        weight.mul_(weight.abs() > threshold)


def _flat(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights]).abs_()


def topk(weights: Sequence[torch.Tensor], count: int, *, in_order: bool = False) -> None:
    """torch.topk over the concatenation, then a comparison with the largest of the smallest."""
    values = torch.topk(_flat(weights), count, largest=False, sorted=in_order).values
    _zero_below(weights, values[-1] if in_order else values.max())


def kthvalue(weights: Sequence[torch.Tensor], count: int) -> None:
    """torch.kthvalue over the concatenation, then a comparison (TurboPrune)."""
    _zero_below(weights, torch.kthvalue(_flat(weights), count).values)


def sort(weights: Sequence[torch.Tensor], count: int) -> None:
    """A full sort of the concatenation, then a comparison."""
    _zero_below(weights, torch.sort(_flat(weights)).values[count - 1])


def numpy_partition(weights: Sequence[torch.Tensor], count: int) -> None:
    """numpy.partition of the concatenation, then a comparison (open_lth sorts instead)."""
    arrays = [weight.numpy() for weight in weights]
    flat = np.concatenate([np.abs(array).ravel() for array in arrays])
    threshold = np.partition(flat, count - 1)[count - 1]
    for array in arrays:
        array *= np.abs(array) > threshold


KTHVALUE = "torch.kthvalue"
FUNCTIONS: dict[str, Function] = {
    "torch.topk": topk,
    KTHVALUE: kthvalue,
    "torch.sort": sort,
    "numpy.partition": numpy_partition,
}
ON_GPU: dict[str, Function] = {
    "torch.topk": topk,
    "torch.topk, sorted": partial(topk, in_order=True),
    KTHVALUE: kthvalue,
    "torch.sort": sort,
}


def torch_prune(model: nn.Module, count: int) -> None:
    """torch.nn.utils.prune.global_unstructured with L1Unstructured."""
    layers = [(layer, "weight") for layer in model.modules() if hasattr(layer, "weight")]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=count)


Layers = Sequence[tuple[nn.Module, str]]


def round_of_torch_prune(layers: Layers, start: Sequence[torch.Tensor], rate: float) -> None:
    """Measures M, prunes and rewinds layers that torch.nn.utils.prune masks, as its users do."""
    sums = [(layer.weight_mask * layer.weight_orig).abs().sum() for layer, _ in layers]
    (torch.stack(sums) / sum(sums)).tolist()
    prune.global_unstructured(layers, prune.L1Unstructured, amount=rate)
    with torch.no_grad():
        for (layer, _), weight in zip(layers, start, strict=True):
            layer.weight_orig.copy_(weight)


def cases(
    functions: Mapping[str, Function], subject: Subject, count: int, *, on_gpu: bool
) -> list[Case]:
    """All of them as cases that begin where `subject.reset` leaves the weights."""
    # They take seconds on the CPU, and with a billion weights on a GPU too.
    repeats = 3 if not on_gpu else 7 if subject.masks.total <= FAST_UP_TO else 2
    victim: list[nn.Module] = []

    def fresh_layers() -> None:
        subject.reset()
        victim[:] = [shapes.module_of(subject.weights)]

    found = [
        Case(name, partial(function, subject.weights, count), subject.reset, repeats)
        for name, function in functions.items()
    ]
    last = Case(
        "torch.nn.utils.prune", lambda: torch_prune(victim[0], count), fresh_layers, repeats
    )
    return [*found, last]


def cub_case(
    name: str, weights: Sequence[torch.Tensor], count: int
) -> tuple[Case | None, str | None]:
    """CUB's DeviceTopK on magnitudes that were flattened beforehand; or why it cannot run."""
    try:
        import cub

        why = cub.available()
        if why is not None:
            return None, why
        search = cub.DeviceTopK(_flat(weights), count)
    except Exception as error:
        return None, reason(error)
    return Case(name, search.run, queued=True), None
