"""Pruned weights stay zero whatever optimiser steps.

One global post-step hook of PyTorch, installed by the first live `Masks` and removed with the
last: after a step of any optimiser over masked parameters, one fused kernel writes +0 where the
mask is 0.
Optimisers that mask inside their own pass (attribute `masks`) are not followed.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from impcore.masks import Masks

_live: weakref.WeakSet[Masks] = weakref.WeakSet()
_handle: RemovableHandle | None = None


def watch(masks: Masks) -> None:
    """Keeps the pruned weights of `masks` at zero from now on."""
    global _handle
    _live.add(masks)
    if _handle is None:
        _handle = register_optimizer_step_post_hook(_after_step)


def unwatch(masks: Masks) -> None:
    """Stops watching; the hook goes with the last masks."""
    global _handle
    _live.discard(masks)
    if not _live and _handle is not None:
        _handle.remove()
        _handle = None


def _after_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for masks in list(_live):
        if getattr(optimizer, "masks", None) is not masks and masks.covers(optimizer):
            masks.apply()
