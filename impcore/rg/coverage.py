"""How often an interval of σ holds the truth: simulated, under a stated noise model.

Invariant: the truth is known by construction, and the interval is the one that `eigen` reports; the
same seed gives the same number. The noise models, with x = -log d and ε independent normal:

    walk          σ(n) = σ + spread · ε(n): log M is a random walk whose steps are equal in σ
    density walk  σ(n) = σ + spread · √(mean log c / log c(n)) · ε(n): a random walk in log density
    observation   log M(n) = σ x(n) + spread · mean log c · ε(n): an error at every state, no walk

Where c is constant the two walks are one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.integers import integer
from impcore.rg import checks
from impcore.rg.eigen import eigen
from impcore.rg.formats import percent
from impcore.rg.table import Shown, Table

NOISES = ("walk", "density walk", "observation")


@dataclass(frozen=True, repr=False)
class Coverage(Shown):
    """What a simulation found; `error` is its own standard error."""

    estimator: str
    noise: str
    level: float
    steps: int
    covered: float  # fraction of intervals that hold σ
    error: float
    rejected: float  # fraction in which the test of the straight line gives p < 1 - level; or NaN

    def table(self) -> Table:
        """One row."""
        headers = ("estimator", "noise", "steps", "nominal", "covered", "line rejected")
        row = (
            self.estimator,
            self.noise,
            str(self.steps),
            percent(self.level),
            f"{percent(self.covered)} ± {percent(self.error)}",
            percent(self.rejected),
        )
        return Table.of("", headers, [row])


def coverage(
    estimator: str = "mean_log",
    noise: str = "walk",
    *,
    remaining: npt.ArrayLike,
    sigma: float = 0.1,
    spread: float = 0.1,
    level: float = 0.95,
    replicates: int = 10_000,
    seed: int = 0,
) -> Coverage:
    """Simulate `replicates` flows of exponent `sigma` and count the intervals that hold it.

    Args:
        estimator: as for `eigen`.
        noise: "walk", "density walk" or "observation"; the module says what they are.
        remaining: [N ≥ 3], the schedule; one step alone has no interval. The test of the line needs
            a state more, and its fraction is NaN without.
        sigma: the truth.
        spread: standard deviation of the noise, in units of σ; positive.
        level: of the intervals, and 1 - level that of the test of the line; in (0, 1).
        replicates: flows to simulate, at least 1.
        seed: of NumPy's default generator.

    Raises:
        ValueError: an argument is not as above.
    """
    checks.choice("noise", noise, NOISES)
    _check(sigma, spread, replicates)
    counts = checks.real("remaining", remaining)
    if counts.ndim != 1 or len(counts) < 3:
        raise ValueError(f"remaining must have shape [N >= 3], not {list(counts.shape)}")
    counts = checks.counts(counts, len(counts), range(len(counts)))
    _, log_c = checks.coarse_graining(counts, range(len(counts)))
    draws = np.random.default_rng(seed)
    steps = sigma * log_c[:, None]
    if noise == "observation":
        position = np.vstack([np.zeros((1, 1)), np.cumsum(steps, axis=0)])
        errors = draws.normal(0, spread * log_c.mean(), (len(counts), replicates))
        log_m = position + errors
    else:
        scale = log_c if noise == "walk" else np.sqrt(log_c.mean() * log_c)
        errors = scale[:, None] * draws.normal(0, spread, (len(log_c), replicates))
        log_m = np.vstack([np.zeros((1, replicates)), np.cumsum(steps + errors, axis=0)])
    result = eigen(np.exp(log_m), counts, estimator=estimator, level=level)
    tested = not np.isnan(result.straight_p).any()
    held = float(np.mean((result.sigma_low <= sigma) & (sigma <= result.sigma_high)))
    return Coverage(
        estimator=estimator,
        noise=noise,
        level=result.level,
        steps=len(log_c),
        covered=held,
        error=float(np.sqrt(max(held * (1 - held), 0.25 / replicates) / replicates)),
        rejected=float(np.mean(result.straight_p < 1 - level)) if tested else math.nan,
    )


def _check(sigma: float, spread: float, replicates: int) -> None:
    if not (checks.is_number(sigma) and math.isfinite(sigma)):
        raise ValueError(f"sigma must be a finite number, not {sigma!r}")
    if not (checks.is_number(spread) and 0 < spread < math.inf):
        raise ValueError(f"spread must be a positive number, not {spread!r}")
    if integer(replicates, 1) is None:
        raise ValueError(f"replicates must be an integer of at least 1, not {replicates!r}")
