"""The eigenvalue analysis of one run, for each of its observables.

Invariant: a block enters the averages only if its observable is positive at every state. A block
that collapsed keeps its λ and σ of the steps that define them, and is named, never dropped
silently; what cannot be analysed at all says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.rg.eigen import Eigen, Floats, eigen
from impcore.rg.run import Run


@dataclass(frozen=True, eq=False)
class Analysis:
    """One observable (M or P) of a run.

    `lam` and `sigma` have a column for every block. At the step in which a block collapses λ is 0
    and σ is -inf; after it both are NaN.
    """

    observable: str
    names: tuple[str, ...]
    values: Floats  # [states, columns]
    lam: Floats  # [states - 1, columns]
    sigma: Floats
    eigen: Eigen | None  # of the blocks that never collapse
    reason: str  # why eigen is None, else ""
    collapsed: Mapping[str, int]  # block -> first round at which its observable is 0

    @property
    def closure(self) -> Floats:
        """Σ_i value_i(n) λ_i(n) of every step: exactly 1 when the columns partition the whole."""
        return np.asarray(np.nansum(self.values[:-1] * self.lam, axis=1))

    def index(self, name: str) -> int | None:
        """Column of block `name` in `eigen`, or None where it has no average."""
        if self.eigen is None or name not in self.eigen.names:
            return None
        return self.eigen.names.index(name)


def analyse(run: Run, *, level: float = 0.95) -> dict[str, Analysis]:
    """Analyse the observables M and P of `run`; keys "M" and "P" in this order."""
    return {
        observable: _analyse(observable, values, run, level)
        for observable, values in (("M", run.M), ("P", run.P))
    }


def _analyse(observable: str, values: Floats, run: Run, level: float) -> Analysis:
    whole = (values > 0).all(axis=0)
    collapsed = {
        run.names[i]: int(np.argmax(values[:, i] == 0)) for i in np.flatnonzero(~whole).tolist()
    }
    steps = max(len(values) - 1, 0)
    shape = (steps, len(run.names))
    kept = np.flatnonzero(whole)
    reason, result = _obstacle(run.remaining, len(kept)), None
    if not reason:
        try:
            names = [run.names[i] for i in kept.tolist()]
            result = eigen(values[:, kept], run.remaining, level=level, names=names)
        except ValueError as error:
            reason = f"{error}."
    if result is None:
        blank = np.full(shape, np.nan)
        return Analysis(observable, run.names, values, blank, blank, None, reason, collapsed)
    lam, sigma = np.full(shape, np.nan), np.full(shape, np.nan)
    lam[:, kept], sigma[:, kept] = result.lam, result.sigma
    for i in np.flatnonzero(~whole).tolist():
        alive = values[:-1, i] > 0
        lam[alive, i] = values[1:, i][alive] / values[:-1, i][alive]
        with np.errstate(divide="ignore"):
            sigma[alive, i] = np.log(lam[alive, i]) / np.log(result.c[alive])
    return Analysis(observable, run.names, values, lam, sigma, result, "", collapsed)


def _obstacle(remaining: npt.NDArray[np.int64], whole_blocks: int) -> str:
    """What stands in the way of eigenvalues, or ""."""
    states = len(remaining)
    if states < 2:
        return (
            f"The run has {states} trained state{'' if states == 1 else 's'}; "
            "λ and σ compare successive states and need at least 2."
        )
    level = np.flatnonzero(~(remaining[1:] < remaining[:-1]))
    if len(level):
        n = int(level[0])
        return (
            f"Round {n} and round {n + 1} have {remaining[n]} and {remaining[n + 1]} remaining "
            "weights; σ = log_c λ needs a count that falls at every step."
        )
    if remaining[-1] <= 0:
        return "No weight remains at the last state, so c has no value."
    return "" if whole_blocks else "Every block collapses in the course of the run."
