"""Which examples a training batch holds, and the one generator of all that is random in an epoch.

Invariant: the order is a function of (seed, epoch) and the number of examples, drawn on the CPU,
whose generator gives the same numbers beside every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from impcore.integers import checked


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's random choices, at its start; its order is drawn first."""
    return keyed_generator(f"impcore batches {seed} {epoch}")


def keyed_generator(key: str) -> torch.Generator:
    """A CPU generator whose state is a function of `key`."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Share(NamedTuple):
    """What one of several processes takes of every training batch: share `rank` of `ranks`.

    Shares follow one another in the batch's order; their sizes differ by one example at most.
    """

    rank: int = 0
    ranks: int = 1

    def parts(self, starts: Sequence[int], steps: range) -> list[slice]:
        """The shares of the batches `steps`, which begin and end at `starts`."""
        return [self._part(starts[step], starts[step + 1]) for step in steps]

    def weight(
        self, starts: Sequence[int], steps: range, targets: np.ndarray | None = None
    ) -> float:
        """What a mean over this share of the batches `steps` is to be multiplied by.

        The mean over the ranks of the products is the mean over the batches; 1 for equal shares.
        `targets` says how many terms of the mean each example has, in the order: one unless given.
        """
        if self.ranks == 1:
            return 1.0
        parts, whole = self.parts(starts, steps), slice(starts[steps.start], starts[steps.stop])
        taken = sum(_count(part, targets) for part in parts)
        return taken * self.ranks / _count(whole, targets)

    def turns(self, count: int, size: int) -> range:
        """Where those batches of `size` of `count` examples begin that are dealt to this rank."""
        return range(self.rank * size, count, self.ranks * size)

    def _part(self, start: int, stop: int) -> slice:
        count = stop - start
        first = count * self.rank // self.ranks
        return slice(start + first, start + count * (self.rank + 1) // self.ranks)


def _count(part: slice, targets: np.ndarray | None) -> int:
    return part.stop - part.start if targets is None else int(targets[part].sum())


WHOLE = Share()


def batch_starts(
    count: int, batch_size: int, drop_last: bool = False, share: Share = WHOLE
) -> list[int]:
    """Return where each batch begins in the order, and where the last one ends.

    A remainder of one example a rank joins the batch before it, because BatchNorm cannot train on a
    single value; `drop_last` drops any remainder instead.
    """
    starts = list(range(0, count, batch_size))
    rest = count - starts[-1]
    if drop_last and rest < batch_size:
        return starts
    if rest < min(2 * share.ranks, batch_size) and batch_size < count:
        starts.pop()
    return [*starts, count]


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """`drawn` on `device`, without waiting for the copy."""
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


def place(epoch: int, start_step: int, steps: int) -> tuple[int, int]:
    """Where an epoch of `steps` steps is taken up; raises ValueError unless it can be there."""
    found = checked("epoch", epoch, 0), checked("start_step", start_step, 0)
    if start_step > steps:
        raise ValueError(f"start_step: {start_step} is beyond the {steps} steps of an epoch")
    return found
