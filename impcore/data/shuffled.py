"""What batches of images and of text have in common: an order anew each epoch, cut into batches.

Invariant: which examples a training batch holds is a function of (seed, epoch, step), their number
and, at an epoch's end, that of the processes which share them; how they become tensors is the
subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from impcore.data.order import batch_starts, epoch_generator
from impcore.data.share import WHOLE, Share
from impcore.errors import DataError
from impcore.integers import checked

Inputs = TypeVar("Inputs")


class ShuffledBatches(ABC, Generic[Inputs]):
    """Batches (inputs, targets) of `count` examples, on one device; see `impcore.data.Batches`.

    Raises:
        DataError: there is no example, or fewer than one batch with `drop_last`, or than the number
            of shares.
        ValueError: `batch_size` or `seed` is no such integer.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        device: torch.device | str,
        seed: int,
        drop_last: bool,
        share: Share,
    ) -> None:
        batch_size, seed = checked("batch_size", batch_size, 1), checked("seed", seed)
        if count == 0:
            raise DataError("split: empty, there is nothing to make batches of")
        if count < share.ranks:
            raise DataError(f"split: {count} examples are not one for each of {share.ranks}")
        if drop_last and count < batch_size:
            raise DataError(f"batch_size: {batch_size} and drop_last leave none of {count}")
        self.batch_size, self.seed = batch_size, seed
        self.device = torch.device(device)
        self._count = count
        self._share = share
        self._starts = batch_starts(count, batch_size, drop_last, share)

    def __len__(self) -> int:
        return self._count

    @property
    def steps_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        return len(self._starts) - 1

    def epoch(
        self, epoch: int, start_step: int = 0, *, whole: bool = False
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Return the training batches of `epoch` from `start_step` on, shuffled and augmented.

        Args:
            epoch: counted from 0; each has its own order and augmentation, or masks.
            start_step: 0 to `steps_per_epoch` (which gives none): where a resumed run goes on.
            whole: in every process the whole batches, not its shares of them.

        Raises:
            ValueError: either is no such integer.
        """
        epoch, start_step = checked("epoch", epoch, 0), checked("start_step", start_step, 0)
        if start_step > self.steps_per_epoch:
            raise ValueError(
                f"start_step: {start_step} is beyond the {self.steps_per_epoch} steps of an epoch"
            )
        return self._train(epoch, start_step, WHOLE if whole else self._share)

    def eval_batches(self, batch_size: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """Return all examples once, in the order of the split, without augmentation.

        Several processes are dealt these batches in turn. Of masked language modelling a row's
        masks depend on nothing but the row.

        Args:
            batch_size: at least 1; None takes that of training. The last batch may be smaller.

        Raises:
            ValueError: no such integer.
        """
        size = self.batch_size if batch_size is None else checked("batch_size", batch_size, 1)
        starts = self._share.turns(self._count, size)
        return self._in_order([slice(at, min(at + size, self._count)) for at in starts])

    def _shuffled(self, epoch: int) -> tuple[Tensor, torch.Generator]:
        """The order of an epoch, and the generator of what else is random in it."""
        generator = epoch_generator(self.seed, epoch)
        return torch.randperm(self._count, generator=generator), generator

    @abstractmethod
    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Inputs, Tensor]]:
        """The shares of the training batches of an epoch from a step on."""

    @abstractmethod
    def _in_order(self, parts: list[slice]) -> Iterator[tuple[Inputs, Tensor]]:
        """These parts of the split as batches."""
