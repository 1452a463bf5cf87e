"""Measure the flow of other people's checkpoints: one state, one tensor at a time.

Invariant: M and P are those of [R] eq. 13 and Sec. 4, summed in float64 over the alive weights
alone: whatever a pruned weight holds, NaN included, does not enter. A state is loaded when its turn
comes, and let go before the next one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from impcore.errors import CheckpointError, NonFiniteError
from impcore.output import Tell
from impcore.rg.checks import Floats
from impcore.rg.formats import duration
from impcore.rg.importers.blocks import Columns
from impcore.rg.importers.l1 import masked_l1

if TYPE_CHECKING:
    import torch


class Masked(NamedTuple):
    """A tensor with its mask: what is None is not known (weight) or all alive (mask)."""

    weight: torch.Tensor | None
    mask: torch.Tensor | None


@dataclass(frozen=True)
class State:
    """One trained state: a reader of its masked tensors, and what was recorded of it."""

    source: str  # for messages
    names: tuple[str, ...]  # of the prunable tensors, the same in every state
    read: Callable[[str], Masked]
    accuracy: float = math.nan  # on the test set, 0 to 1
    loss: float = math.nan
    extra: Mapping[str, Any] = field(default_factory=dict)


Load = Callable[[], State]  # reads a checkpoint; called once, when its turn comes


@dataclass(frozen=True, eq=False)
class Flow:
    """What the states gave."""

    columns: Columns
    M: Floats | None  # [states, columns]; None where only masks are known
    P: Floats
    remaining: tuple[int, ...]
    total: int
    recorded: tuple[Mapping[str, Any], ...]  # accuracy, loss and extra of each state


def measure(
    states: Iterable[Load], blocks: Callable[[tuple[str, ...]], Columns], tell: Tell | None = None
) -> Flow:
    """Measure every state in turn; `tell` hears which one is next, and how long the rest takes.

    Raises:
        CheckpointError: states that differ in tensors or sizes, do not get sparser, or a mask that
            is not 0 and 1.
        NonFiniteError: an alive weight is NaN or infinite.
    """
    measured = _Measured(blocks)
    loads, began = list(states), monotonic()
    for done, load in enumerate(loads):
        if tell is not None:
            tell(_next(done, len(loads), monotonic() - began))
        measured.add(load)
    if measured.columns is None:
        raise CheckpointError("there is no complete state to measure")
    magnitude, alive = np.array(measured.sums), np.array(measured.counts, dtype=np.int64)
    remaining = alive.sum(axis=1)
    unknown = bool(np.isnan(magnitude).any())
    return Flow(
        columns=measured.columns,
        M=None if unknown else magnitude / magnitude.sum(axis=1)[:, None],
        P=alive / remaining[:, None],
        remaining=tuple(remaining.tolist()),
        total=sum(measured.sizes.values()),
        recorded=tuple(measured.recorded),
    )


def _next(done: int, states: int, seconds: float) -> str:
    left = f", about {duration(seconds / done * (states - done))} left" if done else ""
    return f"measuring state {done + 1} of {states}{left}"


class _Measured:
    """The rows so far. A state is a local of `add`: it is gone before the next one is loaded."""

    def __init__(self, blocks: Callable[[tuple[str, ...]], Columns]) -> None:
        self._blocks = blocks
        self.columns: Columns | None = None
        self.sizes: dict[str, int] = {}
        self.sums: list[Floats] = []
        self.counts: list[list[int]] = []
        self.recorded: list[Mapping[str, Any]] = []
        self._before = ""

    def add(self, load: Load) -> None:
        state = load()
        if self.columns is None:
            self.columns = self._blocks(state.names)
        if differing := set(state.names) ^ set(self.columns.column):
            raise CheckpointError(
                f"{state.source}: other prunable tensors than before: {sorted(differing)[:4]}"
            )
        if not (math.isnan(state.accuracy) or 0 <= state.accuracy <= 1):
            raise CheckpointError(
                f"{state.source}: its recorded accuracy is {state.accuracy}; should be a fraction, "
                "from 0 to 1"
            )
        magnitude, alive = _measure_state(state, self.columns, self.sizes)
        if self.counts and sum(alive) >= sum(self.counts[-1]):
            raise CheckpointError(
                f"{state.source}: {sum(alive):,} weights remain, {sum(self.counts[-1]):,} in "
                f"{self._before} before it: states must get sparser; are the files in order?"
            )
        self.sums.append(magnitude)
        self.counts.append(alive)
        self.recorded.append({"accuracy": state.accuracy, "loss": state.loss, **state.extra})
        self._before = state.source


def _measure_state(
    state: State, columns: Columns, sizes: dict[str, int]
) -> tuple[Floats, list[int]]:
    """Σ|mθ| (NaN where the weights are unknown) and Σm of each column."""
    magnitude = np.zeros(len(columns.names))
    alive = [0] * len(columns.names)
    for name in state.names:
        weight, mask = state.read(name)
        tensor = weight if weight is not None else mask
        if tensor is None:
            raise CheckpointError(f"{state.source}: {name} has neither weight nor mask")
        if sizes.setdefault(name, tensor.numel()) != tensor.numel():
            raise CheckpointError(
                f"{state.source}: {name} has {tensor.numel()} elements, {sizes[name]} before"
            )
        if weight is not None and mask is not None and weight.shape != mask.shape:
            raise CheckpointError(
                f"{state.source}: {name} has shape {list(weight.shape)}, its mask "
                f"{list(mask.shape)}"
            )
        at = columns.column[name]
        with _named(f"{state.source}: {name}"):
            count, total = masked_l1(weight, mask)
        alive[at] += count
        magnitude[at] += total
    if sum(alive) == 0:
        raise CheckpointError(f"{state.source}: no weight remains")
    return magnitude, alive


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in which file and tensor a fault lies."""
    try:
        yield
    except (CheckpointError, NonFiniteError) as error:
        raise type(error)(f"{where} {error}") from None
