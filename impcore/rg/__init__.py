"""The renormalisation-group analysis of a pruning run: reads files and arrays, never a model.

Invariant: PyTorch is not imported, matplotlib only when a report is drawn, SciPy only when a
probability, a tree or a fit is asked for; importing this package costs little more than NumPy.

    run = rg.load("runs/digits")                    what a run measured
    rg.load_tasks("runs/digits_tasks").runs         the runs of an experiment over tasks
    rg.analyse(run)["M"]                            λ, σ, intervals, relevance of its blocks
    rg.eigen(M, remaining)                          the same from bare arrays
    rg.over_seeds([a, b, c])                        σ over seeds
    rg.distance(a, b), rg.cluster({...})            how alike runs are
    rg.uniformity(a), rg.fixed_point(a)             within stages; how static
    rg.exponents.fit(density, error)                the scaling law of the error, eq. 15
    rg.published.table(2)                           the paper's tables
    rg.coverage("mean_log", "walk", remaining=...)  what an interval is worth
"""

from __future__ import annotations

from impcore.rg import exponents, published
from impcore.rg.analysis import Analysis, analyse
from impcore.rg.clusters import Clusters, cluster
from impcore.rg.coverage import Coverage, coverage
from impcore.rg.eigen import ESTIMATORS, Eigen, eigen
from impcore.rg.run import Run, load
from impcore.rg.seeds import Seeds, over_seeds
from impcore.rg.similarity import (
    Distance,
    FixedPoint,
    Uniformity,
    distance,
    fixed_point,
    uniformity,
)
from impcore.rg.tasks import Tasks, load_tasks

__all__ = [
    "ESTIMATORS",
    "Analysis",
    "Clusters",
    "Coverage",
    "Distance",
    "Eigen",
    "FixedPoint",
    "Run",
    "Seeds",
    "Tasks",
    "Uniformity",
    "analyse",
    "cluster",
    "coverage",
    "distance",
    "eigen",
    "exponents",
    "fixed_point",
    "load",
    "load_tasks",
    "over_seeds",
    "published",
    "uniformity",
]
