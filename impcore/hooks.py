"""Pruned weights stay zero whatever optimiser steps.

One global post-step hook of PyTorch, installed by the first live `Masks` and removed with the
last: after a step of any optimiser, one fused kernel writes +0 to the pruned weights among those
that it was given, with a gradient or without, as a step may drop gradients. It touches no other
parameter, which autograd may have saved for a backward pass to come. Optimisers that mask inside
their own pass (attribute `masks`) are not followed.

Invariant: a step that torch.compile traced is followed too, and traced anew after new masks.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.compiler import is_compiling
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from impcore.errors import LayoutError, ModelChangedError

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from impcore.masks import Masks

_live: dict[int, weakref.ref[Masks]] = {}
_handle: RemovableHandle | None = None
# Changes with each new Masks, so that a compiled step is traced anew. Not an int, which
# torch.compile would make a variable of.
_generation = "0"


def watch(masks: Masks) -> None:
    """Keeps the pruned weights of `masks` at zero from now on."""
    global _handle, _generation
    key = id(masks)
    _live[key] = weakref.ref(masks, lambda _: _forget(key))
    _generation = str(int(_generation) + 1)
    if _handle is None:
        _handle = register_optimizer_step_post_hook(_after_step)


def unwatch(masks: Masks) -> None:
    """Stops watching; the hook goes with the last masks."""
    _forget(id(masks))


def over(parameters: Iterable[nn.Parameter]) -> list[Masks]:
    """The live masks that any of these parameters is under; not of models that have changed."""
    ids = {id(p) for p in parameters}
    found = []
    for masks in [reference() for reference in list(_live.values())]:
        with suppress(ModelChangedError, LayoutError):
            if masks is not None and masks.among(ids):
                found.append(masks)
    return found


def _forget(key: int) -> None:
    global _handle
    _live.pop(key, None)
    if not _live and _handle is not None:
        _handle.remove()
        _handle = None


def _after_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    own = getattr(optimizer, "masks", None)
    if not is_compiling() and id(own) in _live and len(_live) == 1:
        return  # as in most runs, there are no others
    stepped = tuple([id(p) for group in optimizer.param_groups for p in group["params"]])
    for key, positions in _covering(stepped, _generation):
        reference = _live.get(key)  # the collector may have taken it meanwhile
        masks = None if reference is None else reference()
        if masks is not None and masks is not own:
            masks.apply_to(positions)


def _covering(stepped: tuple[int, ...], generation: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The live masks, by key, over parameters with these ids, and the positions of those."""
    ids, found = set(stepped), []
    for key, masks in [(key, reference()) for key, reference in list(_live.items())]:
        positions = () if masks is None else masks.among(ids)
        if masks is not None and positions:
            masks.plan.part(positions)  # kept, as what is traced could not make it
            found.append((key, positions))
    return tuple(found)


# While a step is traced this runs as it is, once: tracing through every live Masks would fail when
# the garbage collector takes one meanwhile. torch.compiler.assume_constant_result does just this,
# but takes a second to import the compiler.
_covering._dynamo_marked_constant = True  # type: ignore[attr-defined]
