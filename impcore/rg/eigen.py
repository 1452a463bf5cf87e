"""Eigenvalues of the pruning flow: λ, σ and c of any positive observable of the blocks.

Invariant: every number follows from the observable and the measured counts of remaining weights;
no schedule is assumed. Equations are those of Redman et al., "Universality of Winning Tickets: A
Renormalization Group Perspective" (2022), from here on [R].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Relevance = Literal["relevant", "irrelevant", "marginal"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Eigen:
    """λ and σ of every block at every step n → n+1, with their averages over the steps.

    There are N-1 steps between N states. Arrays are float64 and read-only. With a single step there
    is no spread to measure: SEMs and intervals are NaN, and every block is "marginal", because one
    number cannot be told from 0.
    """

    names: tuple[str, ...]
    level: float
    c: Floats  # [N-1] coarse-graining factors, all > 1
    lam: Floats  # [N-1, blocks]
    sigma: Floats  # [N-1, blocks]
    lam_mean: Floats  # [blocks], as all that follow
    lam_sem: Floats
    sigma_mean: Floats
    sigma_sem: Floats  # std(ddof=1) / sqrt(N-1)
    sigma_low: Floats  # two-sided t-interval of sigma_mean at `level`
    sigma_high: Floats
    sigma_endpoint: Floats  # log(M(N)/M(0)) / log(prod c)
    relevance: list[Relevance]

    def __str__(self) -> str:
        width = max(len("block"), *(len(name) for name in self.names))
        head = f"{'block':<{width}}  {'sigma':>8} {'sem':>8} {'endpoint':>8}  relevance"
        rows = (
            f"{name:<{width}}  {mean:>+8.4f} {sem:>8.4f} {end:>+8.4f}  {verdict}"
            for name, mean, sem, end, verdict in zip(
                self.names,
                self.sigma_mean,
                self.sigma_sem,
                self.sigma_endpoint,
                self.relevance,
                strict=True,
            )
        )
        return "\n".join([head, *rows])

    def __repr__(self) -> str:
        return f"Eigen({len(self.c)} steps, {len(self.names)} blocks)\n{self}"


def eigen(
    M: npt.ArrayLike,
    remaining: npt.ArrayLike,
    *,
    level: float = 0.95,
    names: Sequence[str] | None = None,
) -> Eigen:
    """Estimate the eigenvalues of the pruning flow from an observable measured at N states.

    A block is relevant when the t-interval of its mean σ lies above 0, irrelevant when it lies
    below, marginal when it holds 0. The interval treats the steps of one run as independent draws:
    it says nothing about other seeds.

    Args:
        M: [N ≥ 2, blocks], positive and finite: the observable of each block at each state, such
            as M_i(n) of [R] eq. 13. Columns need not sum to 1.
        remaining: [N], positive and strictly falling: weights that remain, or densities.
        level: confidence of the two-sided t-interval, in (0, 1).
        names: of the blocks; "block0", "block1", … by default.

    Raises:
        ValueError: an argument is not as above; a zero in M names the block and the round.
    """
    values = _observable(M)
    labels = _labels(names, values.shape[1])
    c, log_c = _coarse_graining(remaining, len(values))
    confidence = _confidence(level)
    _refuse_nonpositive(values, labels)
    with np.errstate(over="ignore", under="ignore"):
        lam = values[1:] / values[:-1]  # [R] Sec. 4: λ_i = M_i(n+1) / M_i(n)
    if not (np.isfinite(lam).all() and (lam > 0).all()):
        raise ValueError("M must have ratios between successive rounds that float64 can hold")
    sigma = np.log(lam) / log_c[:, None]  # [R] eq. 14: σ_i = log_c λ_i
    endpoint = np.log(values[-1] / values[0]) / log_c.sum()  # steps of eq. 14, telescoped
    sigma_mean, sigma_sem = _mean_and_sem(sigma)
    lam_mean, lam_sem = _mean_and_sem(lam)
    half = _t_quantile(confidence, len(sigma)) * sigma_sem
    low, high = sigma_mean - half, sigma_mean + half
    arrays = (c, lam, sigma, lam_mean, lam_sem, sigma_mean, sigma_sem, low, high, endpoint)
    for array in arrays:
        array.setflags(write=False)
    return Eigen(labels, confidence, *arrays, _relevance(low, high))


def _mean_and_sem(per_step: Floats) -> tuple[Floats, Floats]:
    """Mean over steps and its standard error; the latter is NaN for a single step."""
    steps = len(per_step)
    if steps == 1:
        return per_step[0].copy(), np.full(per_step.shape[1], math.nan)
    return per_step.mean(axis=0), per_step.std(axis=0, ddof=1) / math.sqrt(steps)


def _t_quantile(level: float, steps: int) -> float:
    """Student's t with steps-1 degrees of freedom, two-sided at `level`; NaN for one step."""
    if steps == 1:
        return math.nan
    from scipy.special import stdtrit  # 0.2 s to import, and needed only here

    return float(stdtrit(steps - 1, 0.5 + level / 2))


def _relevance(low: Floats, high: Floats) -> list[Relevance]:
    """[R] Sec. 4: σ > 0 is relevant, σ < 0 irrelevant; what the interval cannot tell is marginal.

    NaN bounds compare false with everything, and so give "marginal".
    """
    return [
        "relevant" if lower > 0 else "irrelevant" if upper < 0 else "marginal"
        for lower, upper in zip(low, high, strict=True)
    ]


def _observable(M: npt.ArrayLike) -> Floats:
    array = _real("M", M)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise ValueError(f"M must have shape [N >= 2, blocks >= 1], not {list(array.shape)}")
    return array.astype(np.float64)


def _refuse_nonpositive(values: Floats, labels: tuple[str, ...]) -> None:
    bad = np.argwhere(~(np.isfinite(values) & (values > 0)))
    if len(bad) == 0:
        return
    state, block = (int(i) for i in bad[0])
    where = f"block {labels[block]!r} at round {state}"
    if values[state, block] == 0:
        raise ValueError(
            f"M is 0 for {where}: the block has collapsed, λ = M(n+1)/M(n) is undefined; "
            "leave it out"
        )
    raise ValueError(f"M must be positive and finite, not {values[state, block]} for {where}")


def _coarse_graining(remaining: npt.ArrayLike, states: int) -> tuple[Floats, Floats]:
    """c(n) and its logarithm, from counts or densities."""
    counts = _real("remaining", remaining)
    if counts.shape != (states,):
        raise ValueError(f"remaining must have shape [{states}] as M has, not {list(counts.shape)}")
    if not (np.isfinite(counts).all() and (counts > 0).all()):
        raise ValueError(f"remaining must be positive and finite, not {counts.tolist()}")
    rising = np.flatnonzero(~(counts[1:] < counts[:-1]))
    if len(rising):
        n = int(rising[0])
        raise ValueError(
            f"remaining must fall strictly, but round {n} has {counts[n]} and round {n + 1} "
            f"has {counts[n + 1]}"
        )
    # [R] App. A: c = 1 / (1 - x(n)), where x is the measured fraction pruned at this step.
    removed = (counts[:-1] - counts[1:]).astype(np.float64)
    after = counts[1:].astype(np.float64)
    return counts[:-1].astype(np.float64) / after, np.log1p(removed / after)


def _real(parameter: str, value: npt.ArrayLike) -> npt.NDArray[np.float64] | npt.NDArray[np.int64]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{parameter} must be an array of real numbers: {error}") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{parameter} must hold real numbers, not dtype {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _labels(names: Sequence[str] | None, blocks: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"block{i}" for i in range(blocks))
    labels = tuple(str(name) for name in names)
    if len(labels) != blocks or len(set(labels)) != blocks:
        raise ValueError(f"names must be {blocks} different names, one a column of M: {labels}")
    return labels


def _confidence(level: float) -> float:
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, not {level!r}")
    return float(level)
