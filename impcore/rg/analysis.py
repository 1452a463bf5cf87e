"""The eigenvalue analysis of one run, for each of its observables.

Invariant: a block enters the averages only if its observable is positive at every state in use. A
block that collapsed keeps its λ and σ of the steps that define them, and is named, never dropped
silently; what cannot be analysed at all says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.eigen import ESTIMATORS, Eigen, eigen
from impcore.rg.run import Run
from impcore.rg.table import Shown, Table

SHARES = ("M", "P")  # observables whose columns partition a whole


@dataclass(frozen=True, eq=False, repr=False)
class Analysis(Shown):
    """One observable of a run.

    `lam` and `sigma` have a column for every block, defined or NaN. At the step in which a block
    collapses λ is 0 and σ is -inf; at a step that begins at 0 neither is defined, whether the block
    stays at 0 or comes back.
    """

    observable: str
    names: tuple[str, ...]
    states: tuple[int, ...]  # the rounds in use
    values: Floats  # [states in use, columns]
    lam: Floats  # [states in use - 1, columns]
    sigma: Floats
    eigen: Eigen | None  # of the blocks that never collapse
    reason: str  # why eigen is None, else ""
    collapsed: Mapping[str, int]  # block -> first round at which its observable is 0

    @property
    def returned(self) -> dict[str, int]:
        """Block -> first round at which its observable is above 0 again."""
        back = (self.values[:-1] == 0) & (self.values[1:] > 0)
        return {
            self.names[i]: self.states[int(np.argmax(back[:, i])) + 1]
            for i in np.flatnonzero(back.any(axis=0)).tolist()
        }

    @property
    def closure(self) -> Floats:
        """Σ_i value_i(n) λ_i(n) of every step: exactly 1 when the columns partition the whole.

        A block that comes back from 0 has no λ, and what it then holds is missing from the sum.
        """
        return np.asarray(np.nansum(self.values[:-1] * self.lam, axis=1))

    def index(self, name: str) -> int | None:
        """Column of block `name` in `eigen`, or None where it has no average."""
        if self.eigen is None or name not in self.eigen.names:
            return None
        return self.eigen.names.index(name)

    def table(self) -> Table:
        """The eigenvalues, or the reason why there are none."""
        if self.eigen is None:
            return Table.of(f"{self.observable}: no σ. {self.reason}", (), ())
        made = self.eigen.table()
        return Table(f"{self.observable}: {made.title}", made.headers, made.rows)


def analyse(
    run: Run,
    *,
    observables: Mapping[str, npt.ArrayLike] | None = None,
    estimator: str = "mean_log",
    rounds: slice | Sequence[int] | None = None,
    level: float = 0.95,
) -> dict[str, Analysis]:
    """Analyse the observables of `run`: M, P, and those that its flow.npz or the caller adds.

    Args:
        observables: name → [states, columns], finite and not negative; need not sum to 1.
        estimator, rounds, level: as for `eigen`. With fewer than two states, or with counts that do
            not fall, the analysis holds the reason instead of eigenvalues.

    Raises:
        TypeError: `run` is not what `load` returns, but a path, for one.
        ValueError: an observable of the caller does not fit the run, or an option is wrong;
            `rounds` must pick two of the run's states or more.
    """
    checks.kind("run", run, Run, "of type Run, as rg.load(path) returns")
    checks.confidence(level)
    checks.choice("estimator", estimator, ESTIMATORS)
    everything = dict(run.observables)
    for name, given in (observables or {}).items():
        values = np.asarray(checks.real(name, given), dtype=np.float64)
        if values.shape != (len(run.remaining), len(run.names)):
            raise ValueError(
                f"{name} must have shape {[len(run.remaining), len(run.names)]} [states, columns], "
                f"not {list(values.shape)}"
            )
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"{name} must be finite and not negative")
        everything[name] = values
    states = tuple(range(len(run.remaining)))
    if rounds is not None:
        states = checks.chosen_states(rounds, len(states))
    return {
        name: _analyse(name, values, run, states, estimator, level)
        for name, values in everything.items()
    }


def unanalysed(run: Run, reason: str) -> dict[str, Analysis]:
    """M, P and the others of `run` with no state in use, and the `reason` for it."""
    none: Floats = np.empty((0, len(run.names)))
    return {
        name: Analysis(name, run.names, (), none, none, none, None, reason, {})
        for name in run.observables
    }


def _analyse(
    observable: str,
    everything: Floats,
    run: Run,
    states: tuple[int, ...],
    estimator: str,
    level: float,
) -> Analysis:
    values, remaining = everything[list(states)], run.remaining[list(states)]
    whole = (values > 0).all(axis=0)
    collapsed = {
        run.names[i]: states[int(np.argmax(values[:, i] == 0))]
        for i in np.flatnonzero(~whole).tolist()
    }
    kept = np.flatnonzero(whole)
    reason, result = _obstacle(remaining, states), None
    lam, sigma = _steps(values, remaining, falling=not reason)
    if not reason and not len(kept):
        reason = "Every block collapses in the course of the run."
    if not reason:
        try:
            names = [run.names[i] for i in kept.tolist()]
            result = eigen(
                everything[:, kept],
                run.remaining,
                estimator=estimator,
                rounds=states,
                level=level,
                names=names,
            )
        except ValueError as error:
            reason = f"{error}."
    return Analysis(observable, run.names, states, values, lam, sigma, result, reason, collapsed)


def _steps(
    values: Floats, remaining: npt.NDArray[np.int64], falling: bool
) -> tuple[Floats, Floats]:
    """λ and σ of every column; NaN after a 0, where float64 cannot hold λ, and without any c."""
    if not falling:
        none = np.full((max(len(values) - 1, 0), values.shape[1]), np.nan)
        return none, none.copy()
    _, log_c = checks.coarse_graining(remaining, range(len(remaining)))
    before, after = values[:-1], values[1:]
    with np.errstate(all="ignore"):
        lam = after / before  # [R] Sec. 4
        held = (before > 0) & np.isfinite(lam) & ((lam > 0) | (after == 0))
        lam = np.where(held, lam, np.nan)
        return lam, np.log(lam) / log_c[:, None]  # [R] eq. 14


def _obstacle(remaining: npt.NDArray[np.int64], states: tuple[int, ...]) -> str:
    """Why the counts have no c, or ""."""
    count = len(remaining)
    if count < 2:
        return (
            f"The run has {count} trained state{'' if count == 1 else 's'}; "
            "λ and σ compare successive states and need at least 2."
        )
    level = np.flatnonzero(~(remaining[1:] < remaining[:-1]))
    if len(level):
        n = int(level[0])
        return (
            f"Round {states[n]} and round {states[n + 1]} have {remaining[n]} and "
            f"{remaining[n + 1]} remaining weights; σ = log_c λ needs a count that falls at every "
            "step."
        )
    if remaining[-1] <= 0:
        return "No weight remains at the last state, so c has no value."
    return ""
