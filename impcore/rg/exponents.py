"""Critical exponents: [R] eq. 15 fitted to error against density, and what the fit cannot say.

Invariant: the fit is scipy.optimize.curve_fit on the logarithms of the four parameters, from
several starts; the best is kept and the number of starts that agree with it is reported. The branch
is γ < 0 (see `scaling`); |γ| is what the data determine. [R] App. D leaves bounds, starts and
weights open; the defaults here are: ε_np free within ±10 % of the error at the densest state,
relative deviation as Rosenfeld et al. (2020) minimise, ε† between the least error measured and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.fitted import NAMES, Fit, values
from impcore.rg.formats import rounded, span
from impcore.rg.least_squares import Problem, profile_interval, solve
from impcore.rg.scaling import Parameters
from impcore.rg.stats import freeze, mean_and_sem, t_quantile
from impcore.rg.table import Shown, Table

DEVIATIONS = ("relative", "absolute")
_GAMMA = 2
_GAMMA_BOUNDS = (1e-3, 50.0)
_MARGIN = 5.0  # p may lie e^5 beyond the densities measured
_COARSE = 1e-7  # tolerance of curve_fit from each start; the best is polished
_AGREE = 1e-4  # relative excess of the squared deviation within which two starts agree


def fit(
    density: npt.ArrayLike,
    error: npt.ArrayLike,
    *,
    eps_np: float | Literal["free", "measured"] = "free",
    within: float = 0.1,
    deviation: str = "relative",
    level: float = 0.95,
) -> Fit:
    """Fit [R] eq. 15 to the error at several densities.

    An interval is where the profile of the squared deviation (all other parameters refitted) stays
    below its F-threshold: it follows the curve's bend, where curve_fit's covariance would not. An
    end that the data do not bound is 0 or ∞, or, for the errors, the bound that was set. It assumes
    independent normal deviations of one size (relative or absolute, as fitted).

    Args:
        density: [N], different and positive: fractions of weights remaining.
        error: [N], in (0, 1]: 1 - accuracy.
        eps_np: "free" within ±`within` (relative) of the error at the largest density, "measured":
            fixed to it, or fixed to this number.
        deviation: "relative": minimise Σ((ε̂-ε)/ε)²; "absolute": Σ(ε̂-ε)².
        level: of the intervals, in (0, 1).

    Raises:
        ValueError: an argument is not as above, there are too few states for the free parameters,
            or no start converged.
    """
    d, eps = _data(density, error)
    confidence = checks.confidence(level)
    check_choices(eps_np, deviation)
    problem = _problem(d, eps, eps_np, within, deviation)
    if len(d) <= sum(problem.free):
        raise ValueError(
            f"a fit of {sum(problem.free)} parameters needs more states than that, not {len(d)}"
        )
    coarse = replace(problem, tolerance=_COARSE)
    solutions = [one for start in _starts(d, eps) if (one := solve(coarse, start))]
    if not solutions:
        raise ValueError("eq. 15 could not be fitted: curve_fit converged from no start")
    best = min(solutions, key=lambda one: one.cost)
    agreeing = sum(one.cost <= best.cost * (1 + _AGREE) + _AGREE**2 * len(d) for one in solutions)
    polished = solve(problem, best.logs) or best
    return _fit(problem, polished.logs, confidence, (agreeing, len(solutions)))


def check_choices(eps_np: float | str, deviation: str) -> None:
    """Raise ValueError unless these are choices that `fit` has, whatever the data."""
    checks.choice("deviation", deviation, DEVIATIONS)
    known = isinstance(eps_np, str) and eps_np in ("free", "measured")
    if not known and not (checks.is_number(eps_np) and 0 < float(eps_np) <= 1):
        raise ValueError(f'eps_np must be "free", "measured" or a number in (0, 1], not {eps_np!r}')


def _fit(problem: Problem, logs: Floats, level: float, agreeing: tuple[int, int]) -> Fit:
    dof = len(problem.error) - sum(problem.free)
    intervals = {}
    for i, name in enumerate(NAMES):
        beyond = (
            (0.0, math.inf) if i >= _GAMMA else tuple(np.exp([problem.low[i], problem.high[i]]))
        )
        low, high = profile_interval(problem, logs, i, dof, level)
        intervals[name] = (
            float(beyond[0]) if low is None else low,
            float(beyond[1]) if high is None else high,
        )
    eps_np, eps_dagger, gamma, p = (float(value) for value in np.exp(logs))
    residuals = problem.predict(logs) / problem.error - 1
    freeze(residuals)
    return Fit(
        parameters=Parameters(eps_np, eps_dagger, -gamma, p),
        level=level,
        intervals=intervals,
        free=tuple(name for name, free in zip(NAMES, problem.free, strict=True) if free),
        at_bound=tuple(NAMES[i] for i in problem.at_bound(logs)),
        deviation=problem.deviation,
        density=problem.density,
        error=problem.error,
        residuals=residuals,
        dof=dof,
        agreeing=agreeing,
    )


def _data(density: npt.ArrayLike, error: npt.ArrayLike) -> tuple[Floats, Floats]:
    d = checks.real("density", density).astype(np.float64)
    eps = checks.real("error", error).astype(np.float64)
    if d.ndim != 1 or eps.shape != d.shape:
        raise ValueError(
            f"density and error must be lists of one length, not {d.shape} {eps.shape}"
        )
    if not (np.isfinite(d).all() and (d > 0).all()) or len(set(d.tolist())) != len(d):
        raise ValueError(f"density must be positive, finite and different, not {d.tolist()}")
    wrong = np.flatnonzero(~((eps > 0) & (eps <= 1)))
    if len(wrong):
        n = int(wrong[0])
        raise ValueError(
            f"error must be a fraction in (0, 1], as eq. 15 is, not {eps[n]} at density {d[n]:g}"
        )
    order = np.argsort(-d)
    d, eps = d[order], eps[order]
    freeze(d, eps)
    return d, eps


def _problem(d: Floats, eps: Floats, eps_np: float | str, within: float, deviation: str) -> Problem:
    measured = math.log(eps[0])
    if eps_np == "free":
        if not (checks.is_number(within) and 0 < within < 1):
            raise ValueError(f"within must be a number between 0 and 1, not {within!r}")
        np_bounds = (measured + math.log1p(-within), measured + math.log1p(within))
    else:
        fixed = measured if eps_np == "measured" else math.log(float(eps_np))
        np_bounds = (fixed, fixed)
    bounds = (
        np_bounds,
        (float(np.log(eps.min())) - 1e-9, 1e-9),
        (math.log(_GAMMA_BOUNDS[0]), math.log(_GAMMA_BOUNDS[1])),
        (float(np.log(d.min())) - _MARGIN, float(np.log(d.max())) + _MARGIN),
    )
    low, high = np.array(bounds).T
    return Problem(d, eps, deviation, low, high)


def _starts(d: Floats, eps: Floats) -> Sequence[Floats]:
    """Exponents from weak to strong, transitions over the densities measured."""
    first, largest = math.log(eps[0]), min(math.log(float(eps.max()) * 1.2), 0.0)
    low, high = float(np.log(d.min())), float(np.log(d.max()))
    return [
        np.array([first, largest, math.log(gamma), low + place * (high - low)])
        for gamma in (0.15, 0.5, 1.5)
        for place in (0.2, 0.5, 0.8)
    ]


@dataclass(frozen=True, eq=False, repr=False)
class SeedFits(Shown):
    """The exponents of several seeds of one experiment: geometric means with t-intervals.

    What a bound holds is no measurement: it enters neither the mean nor the interval of its
    parameter, which are NaN where no seed, or no second one, is left.
    """

    fits: tuple[Fit, ...]
    level: float
    means: dict[str, float]  # by NAMES
    intervals: dict[str, tuple[float, float]]  # over the seeds
    counted: dict[str, int]  # seeds in the mean

    def table(self) -> Table:
        """One row a parameter."""
        rows = [
            (
                name,
                rounded(self.means[name], 4),
                span(*self.intervals[name]),
                str(self.counted[name]),
            )
            for name in NAMES
        ]
        headers = ("", "mean (geometric)", f"{100 * self.level:g} % interval", "seeds")
        count = len(self.fits)
        return Table.of(f"Eq. 15 over {count} seed{'' if count == 1 else 's'}", headers, rows)


def over_seeds(fits: Sequence[Fit], *, level: float | None = None) -> SeedFits:
    """Combine the fits of several seeds: t-intervals of the logarithms, S-1 degrees of freedom.

    A seed is one draw; the noise within a seed's curve enters only through the seeds' spread. Of
    each parameter the S seeds are those in which no bound holds it.

    Args:
        fits: one `Fit` a seed.
        level: of the interval; that of the first fit by default.

    Raises:
        ValueError: no fit.
    """
    if not fits:
        raise ValueError("fits must hold at least one seed, not none")
    confidence = fits[0].level if level is None else checks.confidence(level)
    intervals, means, counted = {}, {}, {}
    for i, name in enumerate(NAMES):
        known = [abs(values(one.parameters)[i]) for one in fits if name not in one.at_bound]
        counted[name] = len(known)
        means[name], intervals[name] = _geometric(known, confidence)
    return SeedFits(tuple(fits), confidence, means, intervals, counted)


def _geometric(known: Sequence[float], level: float) -> tuple[float, tuple[float, float]]:
    """Geometric mean and the t-interval of the logarithm; NaN where there are too few."""
    if not known:
        return math.nan, (math.nan, math.nan)
    mean, sem = (float(one[0]) for one in mean_and_sem(np.log(known)[:, None]))
    half = t_quantile(level, len(known) - 1) * sem
    return math.exp(mean), (math.exp(mean - half), math.exp(mean + half))
