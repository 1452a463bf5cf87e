"""What one of several processes takes of every batch, and how much its mean counts.

Invariant: the shares of a batch partition it, and the mean over the processes of their weighted
means is the mean over the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


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
