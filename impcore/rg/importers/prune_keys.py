"""State dicts as torch.nn.utils.prune leaves them: X_orig and X_mask in place of X.

Invariant: the prunable tensors are those that are masked anywhere in the run; a state that has no
mask for one of them (the dense one, as a rule) has it whole and alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from impcore.errors import CheckpointError
from impcore.rg.importers.measure import Masked

if TYPE_CHECKING:
    import torch

ORIG, MASK = "_orig", "_mask"


def masked_names(tensors: Iterable[str]) -> tuple[str, ...]:
    """Names X for which there is an X_mask, in order."""
    return tuple(name.removesuffix(MASK) for name in tensors if name.endswith(MASK))


def read(tensors: Mapping[str, torch.Tensor], name: str, source: str) -> Masked:
    """X_orig under X_mask, or X whole where it is not pruned yet."""
    if name + MASK in tensors:
        if name + ORIG not in tensors:
            raise CheckpointError(f"{source}: has {name + MASK} but not {name + ORIG}")
        return Masked(tensors[name + ORIG], tensors[name + MASK])
    if name not in tensors:
        raise CheckpointError(f"{source}: has neither {name} nor {name + MASK}")
    return Masked(tensors[name], None)
