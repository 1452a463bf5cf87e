"""What became of prunes: their status words, read once, and the number of weights they left.

A status is 0 for a prune that was done, and anything else for one that changed nothing. Invariant:
the count is right or unknown, never wrong, whatever was interrupted on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from impcore.errors import ImpcoreError, LayerCollapseError, NonFiniteError

if TYPE_CHECKING:
    from impcore.mask_state import MaskState

TOO_MANY = -1
"""A prune was to remove more weights than are alive (`ops.Selection.status`)."""
COLLAPSED = -2
"""A tensor would have kept fewer weights than `min_keep`."""


class Ledger:
    """How many weights are alive, and the statuses of asynchronous prunes that nobody has read.

    Attributes:
        remaining: the number of alive weights if every pending prune was clean; None: unknown.
    """

    def __init__(self, remaining: int) -> None:
        self.remaining: int | None = remaining
        self._pending: list[torch.Tensor] = []

    def defer(self, status: torch.Tensor) -> None:
        """Leaves a status to be read by `settle`."""
        self._pending.append(status)

    def forgive(self) -> None:
        """Drops the pending statuses, as all masks have been replaced; the count is unknown."""
        self._pending.clear()
        self.remaining = None

    def settle(self, masks: MaskState) -> None:
        """Reads the pending statuses.

        Raises:
            NonFiniteError, LayerCollapseError, ValueError: an asynchronous prune did nothing; the
                others were done.
        """
        if not self._pending:
            return
        statuses = [int(status) for status in self._pending]
        self._pending.clear()
        failed = [status for status in statuses if status]
        if failed:
            self.remaining = None
            raise error_of(failed[0], masks, "an earlier prune_global(sync=False) did nothing")


def error_of(status: int, masks: MaskState, consequence: str) -> Exception:
    """The error that a status other than 0 stands for."""
    if status == COLLAPSED:
        return LayerCollapseError(f"a parameter would have kept less than min_keep: {consequence}")
    if status == TOO_MANY:
        return ValueError(f"more weights were to be pruned than remain: {consequence}")
    return non_finite(masks, consequence)


def non_finite(masks: MaskState, consequence: str) -> ImpcoreError:
    """The error that names the parameters whose alive weights hold NaN or infinity."""
    counts = {}
    for i, (name, weight) in enumerate(zip(masks.names, masks.weights, strict=True)):
        flat = weight.as_strided((weight.numel(),), (1,))
        counts[name] = int((~torch.isfinite(flat) & masks.stored(i)).sum())
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
    where = f"of {listed}" if listed else "or their scores"
    return NonFiniteError(f"NaN or infinity among the alive weights {where}: {consequence}")
