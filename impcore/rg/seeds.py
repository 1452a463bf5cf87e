"""σ over seeds: what repeated runs of one experiment agree on, and how well.

Invariant: a seed is one draw. The interval is over the seeds' estimates and needs no noise model of
the rounds; what a single run says of its own rounds is shown beside it, never mixed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.eigen import Eigen
from impcore.rg.formats import DASH, decimals, interval, signed, with_sem
from impcore.rg.stats import Relevance, freeze, mean_and_sem, relevance, t_quantile
from impcore.rg.table import Shown, Table


@dataclass(frozen=True, eq=False, repr=False)
class Seeds(Shown):
    """σ of every block over S seeds. With a single seed SEM and interval are NaN."""

    names: tuple[str, ...]
    level: float
    estimator: str
    dof: float  # S - 1
    sigma: Floats  # [S, blocks], each seed's estimate
    sigma_mean: Floats  # [blocks], as all that follow
    sigma_sem: Floats  # std(ddof=1) / sqrt(S)
    sigma_low: Floats  # t-interval over the seeds
    sigma_high: Floats
    within: Floats  # root mean square of the seeds' own SEMs over their rounds
    relevance: list[Relevance]

    def table(self) -> Table:
        """One row a block."""
        rows = []
        for i, name in enumerate(self.names):
            places = decimals(float(self.sigma_sem[i]))
            rows.append(
                (
                    name,
                    with_sem(float(self.sigma_mean[i]), float(self.sigma_sem[i])),
                    self.relevance[i],
                    interval(float(self.sigma_low[i]), float(self.sigma_high[i]), places),
                    signed(float(self.sigma[:, i].min()), places),
                    signed(float(self.sigma[:, i].max()), places),
                    _error(float(self.within[i])),
                )
            )
        headers = (
            "block",
            "σ ± SEM over seeds",
            "relevance",
            f"{100 * self.level:g} % interval",
            "least",
            "largest",
            "SEM over rounds",
        )
        count = len(self.sigma)
        title = f"σ by {self.estimator} over {count} seed{'' if count == 1 else 's'}"
        return Table.of(title, headers, rows)


def _error(sem: float) -> str:
    return DASH if math.isnan(sem) else f"{sem:.{decimals(sem)}f}"


def over_seeds(runs: Sequence[Eigen], *, level: float | None = None) -> Seeds:
    """Combine the estimates of several seeds of one experiment.

    The t-interval has S-1 degrees of freedom and assumes that the seeds' estimates are independent
    and normal; nothing is assumed of the rounds within a run.

    Args:
        runs: one `Eigen` a seed, of the same blocks, in whatever order, and estimator.
        level: of the interval; that of the first run by default.

    Raises:
        TypeError: a seed is not what `eigen` returns, but a run, for one.
        ValueError: no run, or runs that differ in blocks or estimator.
    """
    one = "of type Eigen, as rg.eigen(M, remaining) returns"
    checks.kind("runs", runs, Sequence, f"a list, each {one}")
    for number, run in enumerate(runs):
        checks.kind(f"runs[{number}]", run, Eigen, one)
    if not runs:
        raise ValueError("runs must hold at least one seed, not none")
    first = runs[0]
    for number, run in enumerate(runs):
        if set(run.names) != set(first.names) or run.estimator != first.estimator:
            raise ValueError(
                f"seeds must have the same blocks and estimator, but seed 0 has {first.names} by "
                f"{first.estimator} and seed {number} has {run.names} by {run.estimator}"
            )
    confidence = first.level if level is None else checks.confidence(level)
    places = [[run.names.index(name) for name in first.names] for run in runs]
    sigma = np.stack([run.sigma_mean[at] for run, at in zip(runs, places, strict=True)])
    own = np.stack([run.sigma_sem[at] for run, at in zip(runs, places, strict=True)])
    mean, sem = mean_and_sem(sigma)
    half = t_quantile(confidence, len(runs) - 1) * sem
    low, high = mean - half, mean + half
    within = np.sqrt(np.mean(own**2, axis=0))
    freeze(sigma, mean, sem, low, high, within)
    return Seeds(
        names=first.names,
        level=confidence,
        estimator=first.estimator,
        dof=len(runs) - 1,
        sigma=sigma,
        sigma_mean=mean,
        sigma_sem=sem,
        sigma_low=low,
        sigma_high=high,
        within=within,
        relevance=relevance(low, high),
    )
