"""What a user could pick instead of impcore, each written as its users write it.

Every opponent prunes `count` more weights of a list of tensors and zeroes them, like prune_global.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune


def _zero_below(weights: Sequence[torch.Tensor], threshold: torch.Tensor | float) -> None:
    for weight in weights:
        weight.mul_(weight.abs() > threshold)


def _flat(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights]).abs_()


def topk(weights: Sequence[torch.Tensor], count: int) -> None:
    """torch.topk over the concatenation, then a comparison with the largest of the smallest."""
    values = torch.topk(_flat(weights), count, largest=False, sorted=False).values
    _zero_below(weights, values.max())


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


FUNCTIONS: dict[str, Callable[[Sequence[torch.Tensor], int], None]] = {
    "torch.topk": topk,
    "torch.kthvalue": kthvalue,
    "torch.sort": sort,
    "numpy.partition": numpy_partition,
}


def torch_prune(model: nn.Module, count: int) -> None:
    """torch.nn.utils.prune.global_unstructured with L1Unstructured."""
    layers = [(layer, "weight") for layer in model.modules() if hasattr(layer, "weight")]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=count)
