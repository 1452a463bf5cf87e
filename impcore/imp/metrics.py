"""The official metrics of the tasks, from predictions and targets on the host.

Invariant: all are computed in float64 by their definitions, and equal scikit-learn's and SciPy's
values, which GLUE reports (Wang et al. 2019); what is undefined is NaN, but F1 and Matthews' are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def accuracy(predictions: Array, targets: Array) -> float:
    """The fraction of predictions that are right."""
    return int((predictions == targets).sum()) / len(targets)


def f1(predictions: Array, targets: Array) -> float:
    """The harmonic mean of precision and recall of class 1; 0 without a true positive."""
    hits = int(((predictions == 1) & (targets == 1)).sum())
    return 2 * hits / max(1, int((predictions == 1).sum()) + int((targets == 1).sum()))


def matthews(predictions: Array, targets: Array) -> float:
    """Matthews' correlation of two classes (Matthews 1975); 0 if either side has one class only."""
    tp, tn, fp, fn = (
        int(((predictions == guess) & (targets == truth)).sum())
        for guess, truth in ((1, 1), (0, 0), (1, 0), (0, 1))
    )
    norm = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(norm) if norm else 0.0


def pearson(predictions: Array, targets: Array) -> float:
    """Pearson's correlation; NaN if either side is constant or not finite."""
    x, y = (_standard(np.asarray(side, dtype=np.float64)) for side in (predictions, targets))
    return min(1.0, max(-1.0, float(x @ y))) if x.size and np.isfinite(x @ y) else math.nan


def _standard(side: Array) -> Array:
    """With mean 0 and norm 1; NaN if it is constant or not finite."""
    largest = np.abs(side).max(initial=0.0)
    if not np.isfinite(largest) or (side == side[:1]).all():
        return np.full(side.shape, np.nan)
    # By a power of two, which rounds nothing: squares would overflow, or vanish.
    scaled = np.ldexp(side, -int(np.frexp(largest)[1]))
    centred = scaled - scaled.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def spearman(predictions: Array, targets: Array) -> float:
    """Pearson's correlation of the ranks, ties sharing the mean of theirs."""
    if not np.isfinite(predictions).all():
        return math.nan
    return pearson(_ranks(predictions), _ranks(targets))


def _ranks(values: Array) -> Array:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


METRICS: Mapping[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
"""Name → function of predictions [N] and targets [N]."""
