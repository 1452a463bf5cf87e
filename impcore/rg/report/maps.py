"""Heat map and dendrogram of many runs, in one order of rows.

Invariant: the scale of the heat map is symmetric about 0, where its colour is white: red is
above 0, blue below. A σ far beyond the others saturates, and its number says how far.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from impcore.rg.clusters import Clusters
from impcore.rg.formats import signed
from impcore.rg.report.drawing import block_axis, literals, new_figure, style

_ROW, _FRAME, _LEAST = 0.3, 0.9, 1.8  # inches: of a row, around the rows, of a figure
_SIZES = ((48, 7.5), (72, 5.5))  # characters a row up to which each cell shows its σ, in points


def heat_map(clusters: Clusters, names: tuple[str, ...]) -> Figure:
    """σ [runs, blocks], rows in the order of the tree."""
    values = clusters.sigma[list(clusters.order)]
    with style():
        figure, axes = new_figure(height=_height(len(values)))
        reach = float(np.quantile(np.abs(values), 0.95)) or 1.0
        edges = (np.arange(values.shape[1] + 1) - 0.5, np.arange(len(values) + 1) - 0.5)
        mesh = axes.pcolormesh(*edges, values, cmap="RdBu_r", vmin=-reach, vmax=reach)
        mesh.set_edgecolor("white")
        mesh.set_linewidth(0.8)
        axes.grid(visible=False)
        axes.invert_yaxis()
        labels = literals(clusters.labels)
        axes.set_yticks(range(len(values)), [labels[i] for i in clusters.order])
        block_axis(axes, names)
        axes.tick_params(length=0)
        _write_numbers(axes, values, reach)
        axes.spines[:].set_visible(False)
    return figure


def _write_numbers(axes: object, values: np.ndarray, reach: float) -> None:
    """Two digits of the largest σ in every cell, or nothing where they would run together."""
    largest = float(np.abs(values).max())
    places = max(2, 1 - math.floor(math.log10(largest))) if largest else 2
    width = values.shape[1] * (places + 3)  # a sign, a zero, a point
    size = next((size for most, size in _SIZES if width <= most), None)
    if size is None:
        return
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            color = "white" if abs(value) > 0.7 * reach else "#222222"
            axes.text(  # type: ignore[attr-defined]
                column, row, signed(float(value), places), ha="center", va="center", size=size,
                color=color,
            )  # fmt: skip


def dendrogram(clusters: Clusters) -> Figure:
    """The tree: leaves on the left in the heat map's order, joined at their distance."""
    from scipy.cluster.hierarchy import dendrogram as tree

    drawn = tree(clusters.linkage, no_plot=True)
    place = {leaf: 10 * position + 5 for position, leaf in enumerate(drawn["leaves"])}
    with style():
        figure, axes = new_figure(height=_height(len(clusters.labels)))
        for heights, positions in zip(drawn["dcoord"], drawn["icoord"], strict=True):
            axes.plot(heights, positions, "-", color="#1f4fd8", linewidth=1.3)
        leaves = sorted(place, key=lambda leaf: place[leaf])
        labels = literals(clusters.labels)
        axes.set_yticks([place[leaf] for leaf in leaves], [labels[i] for i in leaves])
        axes.set_ylim(10 * len(leaves), 0)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("distance of $\\sigma$ (root mean square)")
    return figure


def _height(rows: int) -> float:
    return max(_LEAST, _FRAME + _ROW * rows)
