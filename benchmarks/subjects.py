"""A network as one backend prunes it.

Invariant: masks and workspace are a backend's own; the weights are shared with the other backends',
so that the largest networks fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import shapes
import torch
from places import Place

import impcore
from impcore import ops


class Subject:
    """Masks of some weights under the backend that a label of the place stands for.

    Attributes:
        model: of layers that hold the weights.
        weights: the tensors.
        masks: the model's.
    """

    def __init__(self, place: Place, label: str, weights: Sequence[torch.Tensor]) -> None:
        self._place, self.label = place, label
        self.weights = list(weights)
        self.model = shapes.module_of(self.weights)
        self._pristine: Sequence[torch.Tensor] = []
        with place.under(label):
            self.masks = impcore.Masks(self.model)
        self._words = self.masks.words.clone()

    def prune_to(self, density: float, dense: Sequence[torch.Tensor] = ()) -> None:
        """Prunes the weights, or a copy of `dense` in them, to a density; `reset` comes back."""
        if dense:
            torch._foreach_copy_(self.weights, list(dense))
        rate = 1 - density * self.masks.total / self.masks.remaining
        with self._place.under(self.label):
            impcore.prune_global(self.model, rate=max(0.0, rate))
        self._words.copy_(self.masks.words)

    def follow(self, other: Subject) -> None:
        """Takes over the masks of another backend's subject; the weights follow them already."""
        self._words.copy_(other.masks.words)
        self._restore_masks()

    def remember(self, pristine: Sequence[torch.Tensor]) -> None:
        """What `reset` copies into the weights."""
        self._pristine = pristine

    def reset(self) -> None:
        """Undoes prunes: weights and masks are what they were."""
        self._restore_masks()
        if self._pristine:
            torch._foreach_copy_(self.weights, list(self._pristine))

    def _restore_masks(self) -> None:
        self.masks.words.copy_(self._words)
        first = self.masks.names[0]
        with self._place.under(self.label):
            self.masks[first] = self.masks[first]  # an assignment makes the masks count again
            _ = self.masks.remaining

    def selection(self, count: int) -> Callable[[], ops.Selection]:
        """The op alone: its operands are looked up beforehand, as those of the floors are."""
        with self._place.under(self.label):
            bound = self.masks.bound()
            given = (self.masks.words, bound.scratch, count, bound.workspace)
        return partial(ops.topk_mask, self.masks.plan, self.weights, *given)

    def select_and_commit(self, count: int) -> None:
        """What `prune_global` does on the device."""
        found = self.selection(count)()
        scratch = self.masks.bound().scratch
        ops.commit(self.masks.plan, self.weights, self.masks.words, scratch, found.status)


def prune_all(subjects: Sequence[Subject], density: float) -> None:
    """Prunes the weights that subjects share to a density, by the first one's backend."""
    first, *others = subjects
    first.prune_to(density)
    for other in others:
        other.follow(first)
