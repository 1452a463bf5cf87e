"""Hierarchical clustering of many runs by the distance of their σ vectors.

Invariant: the tree is SciPy's; here are only the distances that go in and the names that come out.
The order of the leaves is optimal (neighbours are alike) and does not depend on the input's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.formats import rounded
from impcore.rg.similarity import Source
from impcore.rg.stats import freeze
from impcore.rg.table import Shown, Table
from impcore.rg.vectors import WANTED, comparable, vector

METHODS = ("average", "single", "complete", "ward")


@dataclass(frozen=True, eq=False, repr=False)
class Clusters(Shown):
    """Distances between runs and the tree that joins the nearest first."""

    labels: tuple[str, ...]
    sigma: Floats  # [runs, blocks]
    distances: Floats  # [runs, runs], root mean square difference of σ
    linkage: Floats  # [runs - 1, 4], as scipy.cluster.hierarchy.linkage gives it
    order: tuple[int, ...]  # of the leaves
    method: str

    def groups(self, apart: float) -> tuple[tuple[str, ...], ...]:
        """The clusters that remain when no branch longer than `apart` is joined, in leaf order."""
        from scipy.cluster.hierarchy import fcluster

        if len(self.labels) == 1:
            return (self.labels,)
        numbers = fcluster(self.linkage, apart, criterion="distance")
        made: dict[int, list[str]] = {}
        for i in self.order:
            made.setdefault(int(numbers[i]), []).append(self.labels[i])
        return tuple(tuple(members) for members in made.values())

    def table(self) -> Table:
        """The distances, in the order of the leaves."""
        names = [self.labels[i] for i in self.order]
        rows = [
            (self.labels[i], *(rounded(float(self.distances[i, j])) for j in self.order))
            for i in self.order
        ]
        return Table.of("Distance of σ, root mean square", ("run", *names), rows)


def cluster(sources: Mapping[str, Source], *, method: str = "average") -> Clusters:
    """Cluster runs, groups of seeds or published rows by the distance of their σ vectors.

    Args:
        sources: label → `Eigen`, `Seeds` or a sequence of σ, with equally many blocks.
        method: how clusters are joined: "average" (default), "single", "complete" or "ward".

    Raises:
        TypeError: `sources` is no mapping, or one of them is neither of these.
        ValueError: no source, different numbers of blocks, or an unknown method.
    """
    checks.choice("method", method, METHODS)
    checks.kind("sources", sources, Mapping, f"a mapping from labels to what is {WANTED}")
    if not sources:
        raise ValueError("sources must hold at least one run, not none")
    made = comparable(
        {label: vector(source, f"sources[{label!r}]") for label, source in sources.items()}
    )
    sigma = np.stack([one.sigma_mean for one in made.values()])
    distances = np.sqrt(np.mean((sigma[:, None] - sigma[None]) ** 2, axis=2))
    if len(made) == 1:
        tree, order = np.empty((0, 4)), [0]
    else:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        condensed = squareform(distances, checks=False)
        tree = linkage(condensed, method=method, optimal_ordering=True)
        order = leaves_list(tree).tolist()
    freeze(sigma, distances, tree)
    return Clusters(tuple(made), sigma, distances, tree, tuple(order), method)
