"""The magnitude flow of a model: one row of M_i and P_i a trained state.

M_i(n) = sum over block i of |m theta| / the same over all masked weights (Redman et al.,
"Universality of Winning Tickets", eq. 13); P_i(n) is the same with counts (ibid., Sec. 4).
Invariant: rows are measured and kept on the weights' device; `M`, `P` and `remaining` are the only
host reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from impcore import ops
from impcore.errors import NonFiniteError
from impcore.masks import Masks
from impcore.outcome import error_of
from impcore.scope import matching, patterns_of

REST = "rest"


class Flow:
    """Measures block sums of a model's masked weights, row by row.

    Args:
        masks: the model's live masks.
        blocks: block name to fnmatch patterns of parameter names, for example
            `impcore.models.blocks_of(model)`. Masked parameters that no block covers are summed up
            in a last column "rest". None: each parameter is a block.

    Attributes:
        names: the columns.
        plan: the masks' plan with these blocks.

    Raises:
        ValueError: a block covers no masked parameter, or two blocks cover the same one.
        TypeError: `masks` or `blocks` is something else, such as the model or a list of patterns,
            or a block's patterns are not a list of strings.
    """

    def __init__(self, masks: Masks, blocks: Mapping[str, Sequence[str]] | None = None) -> None:
        if not isinstance(masks, Masks):
            raise TypeError(
                f"masks must be the model's impcore.Masks, not {type(masks).__name__}; "
                "impcore.masks_of(model) are those that it has"
            )
        if not isinstance(blocks, Mapping | None):
            raise TypeError(
                "blocks must be a mapping from block names to patterns such as "
                f"{{'stage1': ['layer1.*']}}, got {blocks!r}"
            )
        self.masks = masks
        if blocks is None:
            self.names, columns = masks.names, list(range(len(masks)))
        else:
            self.names, columns = _columns(masks.names, blocks)
        self.plan = masks.plan.with_blocks(columns)
        self._rows: list[torch.Tensor] = []
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(self) -> None:
        """Appends a row for the weights as they are now: one read of the weights, no host read."""
        bound = self.masks.bound()
        self.append(ops.block_l1(self.plan, bound.weights, bound.words))

    def append(self, sums: torch.Tensor, status: torch.Tensor | None = None) -> None:
        """Appends block sums float64 [2, columns]; with a status, if that turns out to be clean."""
        self._rows.append(sums)
        if status is not None:
            self._pending.append((sums, status))

    def __len__(self) -> int:
        return len(self._rows)

    def _sums(self) -> npt.NDArray[np.float64]:
        pending, self._pending = self._pending, []
        dirty = [(sums, int(status)) for sums, status in pending if int(status) != 0]
        if dirty:
            # These prunes did not happen, so their rows describe nothing.
            self._rows = [row for row in self._rows if not any(row is sums for sums, _ in dirty)]
            raise error_of(
                dirty[0][1], self.masks, "a recorded prune did nothing; its row was dropped"
            )
        if not self._rows:
            return np.empty((0, 2, len(self.names)))
        return torch.stack(self._rows).cpu().numpy()

    @property
    def M(self) -> npt.NDArray[np.float64]:
        """Magnitude shares, float64 [rows, columns]; each row sums to 1 (NaN if no weight is left).

        Raises:
            NonFiniteError: a recorded row holds NaN or infinity, which can only be mended by
                `load_state_dict`.
            NonFiniteError, LayerCollapseError, ValueError: a prune recorded with sync=False did
                nothing; its row has been dropped.
        """
        sums = self._sums()[:, 0]
        for row, column in np.argwhere(~np.isfinite(sums)):
            raise NonFiniteError(
                f"row {row} of the flow: alive weights of {self.names[column]!r} held NaN or "
                "infinity when it was recorded"
            )
        return _shares(sums)

    @property
    def P(self) -> npt.NDArray[np.float64]:
        """Count shares, float64 [rows, columns]; raises for asynchronous prunes like `M`."""
        return _shares(self._sums()[:, 1])

    @property
    def remaining(self) -> npt.NDArray[np.int64]:
        """Alive weights at each row, int64 [rows]; raises like `P`."""
        counts: npt.NDArray[np.float64] = self._sums()[:, 1].sum(axis=1)
        return counts.astype(np.int64)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The rows: "sums", float64 [rows, 2, columns] on the CPU (raises like `P`)."""
        return {"sums": torch.from_numpy(self._sums().copy())}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replaces the rows.

        Raises:
            ValueError: "sums" is missing or has another dtype or number of columns.
        """
        sums = state.get("sums")
        columns = len(self.names)
        if sums is None or sums.dtype != torch.float64 or tuple(sums.shape[1:]) != (2, columns):
            found = None if sums is None else f"{sums.dtype} {tuple(sums.shape)}"
            raise ValueError(f"sums must be float64 [rows, 2, {columns}], got {found}")
        self._rows = list(sums.to(self.masks.words.device))
        self._pending = []


def _shares(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        shares: npt.NDArray[np.float64] = sums / sums.sum(axis=1, keepdims=True)
    return shares


def _columns(
    parameters: Sequence[str], blocks: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[int]]:
    """The column names, and each parameter's column."""
    names = list(blocks)
    patterns = [patterns_of(blocks[name], f"block {name!r}") or () for name in names]
    within = [matching(some) for some in patterns]
    columns = []
    for parameter in parameters:
        found = [i for i, covers in enumerate(within) if covers(parameter)]
        if len(found) > 1:
            raise ValueError(
                f"{parameter} is in two blocks: {names[found[0]]!r} and {names[found[1]]!r}"
            )
        columns.append(found[0] if found else len(names))
    for i, name in enumerate(names):
        if i not in columns:
            raise ValueError(
                f"block {name!r} covers no masked parameter: its patterns are {list(patterns[i])}"
            )
    if len(names) in columns:
        if REST in names:
            raise ValueError(f"block name {REST!r} is taken by what the other blocks leave over")
        names.append(REST)
    return names, columns
