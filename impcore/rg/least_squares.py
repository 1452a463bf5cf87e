"""The least-squares problem of [R] eq. 15, its solution by curve_fit, and profile intervals.

Invariant: what is minimised is what the fit reports: the summed squared deviation, relative or
absolute. A fixed parameter has equal bounds and is never handed to the optimiser.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from impcore.rg.checks import Floats
from impcore.rg.scaling import log_curve, log_jacobian

_EDGE = 1e-4  # in the logarithm: so near a bound, the bound holds the parameter
_TOLERANCE = 1e-14
_PROFILE_TOLERANCE = 1e-9


class Solution(NamedTuple):
    """Logarithms of the four parameters and the squared deviation they leave."""

    logs: Floats
    cost: float


@dataclass(frozen=True, eq=False)
class Problem:
    """Error at densities, the deviation to minimise, and bounds of the four logarithms."""

    density: Floats
    error: Floats
    deviation: str
    low: Floats
    high: Floats
    tolerance: float = _TOLERANCE

    @property
    def free(self) -> list[bool]:
        """Which parameters the optimiser may move."""
        return [bool(a < b) for a, b in zip(self.low, self.high, strict=True)]

    @property
    def scale(self) -> Floats:
        """What a deviation is divided by."""
        return self.error if self.deviation == "relative" else np.ones_like(self.error)

    def predict(self, logs: Floats) -> Floats:
        """ε̂ at the densities."""
        return np.asarray(np.exp(log_curve(np.log(self.density), logs)))

    def cost(self, logs: Floats) -> float:
        """Summed squared deviation."""
        return float(np.sum(((self.predict(logs) - self.error) / self.scale) ** 2))

    def at_bound(self, logs: Floats) -> list[int]:
        """Free parameters that lie on a bound."""
        near = (logs - self.low < _EDGE) | (self.high - logs < _EDGE)
        return [i for i, free in enumerate(self.free) if free and near[i]]


def solve(problem: Problem, start: Floats) -> Solution | None:
    """One run of scipy.optimize.curve_fit from `start`; None where it does not converge."""
    from scipy.optimize import OptimizeWarning, curve_fit

    free = np.flatnonzero(problem.free)
    log_d, base = np.log(problem.density), np.clip(start, problem.low, problem.high)

    def whole(some: tuple[float, ...]) -> Floats:
        logs = base.copy()
        logs[free] = some
        return logs

    def value(_: Floats, *some: float) -> Floats:
        return np.asarray(np.exp(log_curve(log_d, whole(some))))

    def slope(_: Floats, *some: float) -> Floats:
        logs = whole(some)
        rate = log_jacobian(log_d, logs)
        return np.asarray(np.exp(log_curve(log_d, logs))[:, None] * rate)[:, free]

    inside = 1e-6 * (problem.high - problem.low)
    first = np.clip(base, problem.low + inside, problem.high - inside)[free]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # of its covariance, unused
        try:
            found, _ = curve_fit(
                value,
                log_d,
                problem.error,
                first,
                sigma=problem.scale,
                bounds=(problem.low[free], problem.high[free]),
                jac=slope,
                ftol=problem.tolerance,
                xtol=problem.tolerance,
                gtol=problem.tolerance,
                max_nfev=1000,
            )
        except RuntimeError:  # "Optimal parameters not found": another start may
            return None
    logs = whole(tuple(found))
    return Solution(logs, problem.cost(logs))


def profile_interval(
    problem: Problem, logs: Floats, index: int, dof: int, level: float
) -> tuple[float | None, float | None]:
    """Values of parameter `index` that an F-test at `level` does not reject, the others refitted.

    An end is None where the bound of the search is reached without rejection. A fixed parameter has
    its value at both ends, and so has one that exact data determine.
    """
    from scipy.special import fdtri

    best = problem.cost(logs)
    if not problem.free[index] or best <= 1e-24 * len(problem.error):
        value = math.exp(logs[index])
        return value, value
    threshold = best * (1 + float(fdtri(1, dof, level)) / dof)
    low, high = (
        _profile_end(problem, logs, index, threshold, float(bound))
        for bound in (problem.low[index], problem.high[index])
    )
    return (None if low is None else math.exp(low)), (None if high is None else math.exp(high))


def _profile_end(
    problem: Problem, logs: Floats, index: int, threshold: float, bound: float
) -> float | None:
    """Where the refitted cost crosses `threshold` on the way to `bound`: expand, then halve."""
    direction = math.copysign(1.0, bound - logs[index])
    inside, step, warm = float(logs[index]), 0.1, logs
    if inside == bound:
        return None
    while True:
        outside = inside + direction * step
        if (outside - bound) * direction >= 0:
            outside = bound
        cost, refitted = _refitted(problem, warm, index, outside)
        if cost > threshold:
            break
        if outside == bound:
            return None
        inside, warm, step = outside, refitted, 2 * step
    while abs(outside - inside) > 1e-3:
        middle = (inside + outside) / 2
        cost, refitted = _refitted(problem, warm, index, middle)
        if cost > threshold:
            outside = middle
        else:
            inside, warm = middle, refitted
    return (inside + outside) / 2


def _refitted(problem: Problem, warm: Floats, index: int, value: float) -> tuple[float, Floats]:
    """Least squared deviation with parameter `index` held at `value`."""
    low, high, start = problem.low.copy(), problem.high.copy(), warm.copy()
    low[index] = high[index] = start[index] = value
    held = replace(problem, low=low, high=high, tolerance=_PROFILE_TOLERANCE)
    solution = solve(held, start)
    return (math.inf, start) if solution is None else (solution.cost, solution.logs)
