"""Eigenvalues of the pruning flow: λ, σ and c of any positive observable of the blocks.

Invariant: every number follows from the observable and the measured counts of remaining weights;
no schedule is assumed. Equations are those of Redman et al., "Universality of Winning Tickets: A
Renormalization Group Perspective" (2022), from here on [R].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.rg import checks, estimators
from impcore.rg.checks import Floats
from impcore.rg.estimators import ESTIMATORS, Estimate
from impcore.rg.formats import decimals, interval, probability, signed, with_sem
from impcore.rg.stats import Relevance, freeze, mean_and_sem, relevance, t_quantile
from impcore.rg.table import Shown, Table

__all__ = ["ESTIMATORS", "Eigen", "Floats", "Relevance", "eigen"]


@dataclass(frozen=True, eq=False, repr=False)
class Eigen(Shown):
    """λ and σ of every block at every step n → n+1, with the estimate of σ over the steps.

    There are N-1 steps between the N states in use. Arrays are float64 and read-only. With a single
    step there is no spread to measure: SEMs and intervals are NaN, and every block is "marginal",
    because one number cannot be told from 0.
    """

    names: tuple[str, ...]
    level: float
    estimator: str  # how sigma_mean and what depends on it were made
    states: tuple[int, ...]  # the rounds in use
    dof: float  # degrees of freedom behind sigma_sem
    c: Floats  # [N-1] coarse-graining factors, all > 1
    lam: Floats  # [N-1, blocks]
    sigma: Floats  # [N-1, blocks]
    lam_mean: Floats  # [blocks], as all that follow
    lam_sem: Floats
    sigma_mean: Floats  # σ by the estimator: the mean of σ(n) for "mean_log"
    sigma_sem: Floats  # its standard error: std(ddof=1) / sqrt(N-1) for "mean_log"
    sigma_low: Floats  # two-sided t-interval of sigma_mean at `level`
    sigma_high: Floats
    sigma_endpoint: Floats  # log(M(N)/M(0)) / log(prod c)
    straight_p: Floats  # p-value of "M is an eigenfunction": log M is straight in log d
    relevance: list[Relevance]

    def table(self) -> Table:
        """One row a block: σ, interval, verdict, endpoint estimate, λ, test of the line."""
        rows = []
        for i, name in enumerate(self.names):
            places = decimals(float(self.sigma_sem[i]))
            rows.append(
                (
                    name,
                    with_sem(float(self.sigma_mean[i]), float(self.sigma_sem[i])),
                    self.relevance[i],
                    interval(float(self.sigma_low[i]), float(self.sigma_high[i]), places),
                    signed(float(self.sigma_endpoint[i]), places),
                    with_sem(float(self.lam_mean[i]), float(self.lam_sem[i])).lstrip("+"),
                    probability(float(self.straight_p[i])),
                )
            )
        steps = len(self.c)
        title = f"σ by {self.estimator} over {steps} step{'' if steps == 1 else 's'}"
        headers = (
            "block",
            "σ ± SEM",
            "relevance",
            f"{100 * self.level:g} % interval",
            "endpoint σ",
            "λ mean ± SEM",
            "p, if straight",
        )
        return Table.of(title, headers, rows)


def eigen(
    M: npt.ArrayLike,
    remaining: npt.ArrayLike,
    *,
    estimator: str = "mean_log",
    rounds: slice | Sequence[int] | None = None,
    weights: npt.ArrayLike | None = None,
    noise: npt.ArrayLike | None = None,
    level: float = 0.95,
    names: Sequence[str] | None = None,
) -> Eigen:
    """Estimate the eigenvalues of the pruning flow from an observable measured at N states.

    A block is relevant when the t-interval of its σ lies above 0, irrelevant when it lies below,
    marginal when it holds 0. The interval is over the rounds of one run: it says nothing about
    other seeds (see `over_seeds`).

    Args:
        M: [N ≥ 2, blocks], positive and finite: the observable of each block at each state, such
            as M_i(n) of [R] eq. 13. Columns need not sum to 1.
        remaining: [N], positive and, over the rounds in use, strictly falling: weights that remain,
            or densities.
        estimator: "mean_log" (default, as in [R]), "log_mean", "endpoints" or "regression";
            `impcore.rg.estimators` says which noise each one's interval is right for.
        rounds: the states to use, a slice or rising indices; all by default. Steps then go between
            successive chosen states, with the c between them.
        weights: for "regression": relative precision of log M, one a state of the run.
        noise: for "regression": known standard deviation of log M, one a state or one for all; it
            weights by 1/noise², and gives the error and the test of the line their scale.
        level: confidence of the two-sided t-interval, in (0, 1).
        names: of the blocks; "block0", "block1", … by default.

    Raises:
        ValueError: an argument is not as above; a zero in M names the block and the round.
    """
    everything = checks.observable(M)
    labels = checks.labels(names, everything.shape[1])
    states = checks.chosen_states(rounds, len(everything))
    c, log_c = checks.coarse_graining(checks.counts(remaining, len(everything), states), states)
    confidence = checks.confidence(level)
    checks.choice("estimator", estimator, ESTIMATORS)
    precision, known = _precision(estimator, weights, noise, len(everything), states)
    values = everything[list(states)]
    checks.refuse_nonpositive(values, labels, states)
    with np.errstate(over="ignore", under="ignore"):
        lam = values[1:] / values[:-1]  # [R] Sec. 4: λ_i = M_i(n+1) / M_i(n)
    if not (np.isfinite(lam).all() and (lam > 0).all()):
        raise ValueError("M must have ratios between successive rounds that float64 can hold")
    log_lam = np.log(lam)
    if estimator == "regression":
        estimate = estimators.regression(np.log(values), log_c, precision, known)
    else:
        estimate = getattr(estimators, estimator)(log_lam, log_c)
    half = t_quantile(confidence, estimate.dof) * estimate.sem
    low, high = estimate.value - half, estimate.value + half
    endpoint = log_lam.sum(axis=0) / log_c.sum()  # steps of eq. 14, telescoped
    sigma = log_lam / log_c[:, None]  # [R] eq. 14: σ_i = log_c λ_i
    return _result(
        labels, confidence, estimator, states, estimate, c, lam, sigma, low, high, endpoint
    )


def _result(
    names: tuple[str, ...],
    level: float,
    estimator: str,
    states: tuple[int, ...],
    estimate: Estimate,
    c: Floats,
    lam: Floats,
    sigma: Floats,
    low: Floats,
    high: Floats,
    endpoint: Floats,
) -> Eigen:
    lam_mean, lam_sem = mean_and_sem(lam)
    freeze(c, lam, sigma, lam_mean, lam_sem, estimate.value, estimate.sem)
    freeze(low, high, endpoint, estimate.straight_p)
    return Eigen(
        names=names,
        level=level,
        estimator=estimator,
        states=states,
        dof=estimate.dof,
        c=c,
        lam=lam,
        sigma=sigma,
        lam_mean=lam_mean,
        lam_sem=lam_sem,
        sigma_mean=estimate.value,
        sigma_sem=estimate.sem,
        sigma_low=low,
        sigma_high=high,
        sigma_endpoint=endpoint,
        straight_p=estimate.straight_p,
        relevance=relevance(low, high),
    )


def _precision(
    estimator: str,
    weights: npt.ArrayLike | None,
    noise: npt.ArrayLike | None,
    total: int,
    states: tuple[int, ...],
) -> tuple[Floats, Floats | None]:
    """Weights of the states in use, and their known noise."""
    for parameter, value in (("weights", weights), ("noise", noise)):
        if value is not None and estimator != "regression":
            raise ValueError(f"{parameter} belongs to estimator 'regression', not {estimator!r}")
    if weights is not None and noise is not None:
        raise ValueError("weights and noise exclude each other: noise already gives the weights")
    chosen = list(states)
    if noise is not None:
        known = checks.per_state("noise", noise, total)[chosen]
        return 1 / known**2, known
    if weights is not None:
        return checks.per_state("weights", weights, total)[chosen], None
    return np.ones(len(states)), None
