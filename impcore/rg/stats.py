"""The few distributions that the analysis needs, vectorised, and what an interval says of σ.

Invariant: SciPy is imported when a probability is asked for, not when this module is; with no
degree of freedom left every answer is NaN, never a number.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from impcore.rg.checks import Floats

Relevance = Literal["relevant", "irrelevant", "marginal"]


def t_quantile(level: float, dof: float) -> float:
    """Half-width, in standard errors, of the two-sided t-interval at `level`; normal for inf."""
    if not dof > 0:
        return math.nan
    from scipy.special import ndtri, stdtrit

    upper = 0.5 + level / 2
    return float(ndtri(upper) if math.isinf(dof) else stdtrit(dof, upper))


def t_test(t: npt.ArrayLike, dof: float) -> Floats:
    """Two-sided p-value of Student's t."""
    values = np.asarray(t, dtype=np.float64)
    if not dof > 0:
        return np.full(values.shape, math.nan)
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(dof, -np.abs(values)))


def chi2_test(statistic: npt.ArrayLike, dof: float) -> Floats:
    """P(χ² ≥ statistic) with `dof` degrees of freedom."""
    values = np.asarray(statistic, dtype=np.float64)
    if not dof > 0:
        return np.full(values.shape, math.nan)
    from scipy.special import chdtrc

    return np.asarray(chdtrc(dof, values))


def joint_t_test(t: npt.ArrayLike, dof: float) -> float:
    """P-value of several independent Student's t at once.

    Every t becomes the χ² of one degree of freedom that is as rare as it; if all are Student's,
    the sum of these is χ² of as many degrees of freedom as there are, exactly.
    """
    values = np.asarray(t, dtype=np.float64)
    if not dof > 0 or np.isnan(values).any():
        return math.nan
    from scipy.special import chdtrc, chdtri

    rare = np.maximum(t_test(values, dof), np.finfo(np.float64).tiny)  # 0 has no χ²
    return float(chdtrc(values.size, chdtri(1, rare).sum()))


def mean_and_sem(values: Floats) -> tuple[Floats, Floats]:
    """Mean over axis 0 and its standard error std(ddof=1)/√n; the latter is NaN for one row."""
    rows = len(values)
    if rows == 1:
        return values[0].copy(), np.full(values.shape[1], math.nan)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(rows)


def relevance(low: Floats, high: Floats) -> list[Relevance]:
    """[R] Sec. 4: σ > 0 is relevant, σ < 0 irrelevant; what the interval cannot tell is marginal.

    NaN bounds compare false with everything, and so give "marginal".
    """
    return [
        "relevant" if lower > 0 else "irrelevant" if upper < 0 else "marginal"
        for lower, upper in zip(low, high, strict=True)
    ]


def freeze(*arrays: npt.NDArray[np.float64]) -> None:
    """Make results read-only, so that what is reported is what was computed."""
    for array in arrays:
        array.setflags(write=False)
