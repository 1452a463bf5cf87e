"""Four ways to take σ from log M and log c, each with the noise model its interval is right for.

Invariant: all four give the exponent of M ∝ d^(-σ) back exactly, under any schedule. They differ
in how they weight the rounds and in what they believe about the noise:

    mean_log     σ = mean of log λ(n) / log c(n). Noise: log M is a random walk, σ(n) = σ + ε(n)
                 with independent ε of one variance. The paper's "mean computed σ_i" ([R] Table 2),
                 and the default.
    log_mean     σ = log of the mean λ, over log c; λ(n) is first brought to the mean c of the run,
                 λ(n)^(mean log c / log c(n)). Noise as above, the error by the delta method.
    endpoints    σ = log(M(N)/M(0)) / log(Π c): the log c-weighted mean of σ(n). Noise: a random
                 walk in log density, var ε(n) ∝ 1 / log c(n).
    regression   σ = slope of log M against -log d. Noise: independent at every *state* (observation
                 noise, not a walk), of the given relative weights, or of a known size.

Each also tests that M is an eigenfunction, which [R] Sec. 4 reads off a small SEM: that log M is a
straight line in log d. The first three ask whether σ(n) has a trend (t-test of its slope against
log d); the regression asks whether a quadratic term improves the line (t-test), or, where the noise
is known, whether the residuals are as small as it (χ²).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from impcore.rg.checks import Floats
from impcore.rg.stats import chi2_test, mean_and_sem, t_test

_ROUNDING = 64 * float(np.finfo(np.float64).eps)

ESTIMATORS = ("mean_log", "log_mean", "endpoints", "regression")


class Estimate(NamedTuple):
    """σ of every block, its standard error and degrees of freedom, and the p-value of a line."""

    value: Floats  # [blocks]
    sem: Floats  # [blocks]
    dof: float
    straight_p: Floats  # [blocks]


def mean_log(log_lam: Floats, log_c: Floats) -> Estimate:
    """Mean of σ(n) over the steps; `log_lam` [steps, blocks], `log_c` [steps]."""
    sigma = log_lam / log_c[:, None]  # [R] eq. 14
    value, sem = mean_and_sem(sigma)
    return Estimate(value, sem, len(sigma) - 1, _trend(sigma, log_c))


def log_mean(log_lam: Floats, log_c: Floats) -> Estimate:
    """Log of the mean λ at the run's mean c; the same as log_c(mean λ) where c is constant."""
    sigma = log_lam / log_c[:, None]
    typical = log_c.mean()
    mean, sem = mean_and_sem(np.exp(sigma * typical))
    return Estimate(
        np.log(mean) / typical, sem / mean / typical, len(sigma) - 1, _trend(sigma, log_c)
    )


def endpoints(log_lam: Floats, log_c: Floats) -> Estimate:
    """The telescoped steps of eq. 14, with the spread of a walk in log density."""
    sigma, steps = log_lam / log_c[:, None], len(log_lam)
    value = log_lam.sum(axis=0) / log_c.sum()
    if steps == 1:
        sem = np.full(len(value), math.nan)
    else:
        spread = (log_c[:, None] * (sigma - value) ** 2).sum(axis=0) / (steps - 1)
        sem = np.sqrt(spread / log_c.sum())
    return Estimate(value, sem, steps - 1, _trend(sigma, log_c))


def regression(log_m: Floats, log_c: Floats, weights: Floats, noise: Floats | None) -> Estimate:
    """Weighted least squares of log M [states, blocks] on -log d.

    Args:
        weights: [states], relative precision of log M at each state.
        noise: [states], known standard deviation of log M; then `weights` must be 1/noise², the
            errors are theirs and not the residuals', and the test of the line is χ².
    """
    position = np.concatenate([[0.0], np.cumsum(log_c)])  # -log(d / d(0))
    states = len(position)
    x = position - np.average(position, weights=weights)
    sum_xx = (weights * x**2).sum()
    value = (weights * x) @ log_m / sum_xx
    mean = weights @ log_m / weights.sum()
    residuals = log_m - mean - x[:, None] * value
    if noise is not None:
        sem = np.full(log_m.shape[1], 1 / math.sqrt(sum_xx))
        chi2 = (weights[:, None] * residuals**2).sum(axis=0)
        return Estimate(value, sem, math.inf, chi2_test(chi2, states - 2))
    if states < 3:
        undefined = np.full(log_m.shape[1], math.nan)
        return Estimate(value, undefined, 0, undefined.copy())
    spread = (weights[:, None] * residuals**2).sum(axis=0) / (states - 2)
    return Estimate(value, np.sqrt(spread / sum_xx), states - 2, _curvature(x, log_m, weights))


def _trend(sigma: Floats, log_c: Floats) -> Floats:
    """P-value of a slope of σ(n) against the middle of its step in log density."""
    middle = np.cumsum(log_c) - log_c / 2
    # λ carries a relative rounding error, so σ = log λ / log c an absolute one.
    floor = _ROUNDING / float(log_c.min())
    return _last_coefficient(np.stack([np.ones_like(middle), middle], axis=1), sigma, floor)


def _curvature(x: Floats, log_m: Floats, weights: Floats) -> Floats:
    """P-value of a quadratic term in the weighted regression of log M on x."""
    root = np.sqrt(weights)[:, None]
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    return _last_coefficient(root * design, root * log_m, _ROUNDING * float(root.max()))


def _last_coefficient(design: Floats, response: Floats, rounding: float) -> Floats:
    """Two-sided t-test of the last column's coefficient, for every column of `response`.

    What is exact up to `rounding` (and to its own) has nothing to test: p = 1.
    """
    dof = len(design) - design.shape[1]
    if dof < 1:
        return np.full(response.shape[1], math.nan)
    q, _ = np.linalg.qr(design)
    projected = q.T @ response
    residual = response - q @ projected
    spread = np.sqrt((residual**2).sum(axis=0) / dof)
    floor = rounding + 1e-12 * np.abs(response).max(axis=0, initial=0.0)
    exact = (spread <= floor) & (np.abs(projected[-1]) <= floor * math.sqrt(len(design)))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = projected[-1] / spread
    return np.where(exact, 1.0, t_test(np.nan_to_num(t, nan=0.0, posinf=np.inf), dof))
