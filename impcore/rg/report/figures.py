"""The report's figures, as matplotlib Figure objects.

Invariant: a figure shows every state of the run that has a place on its axes; what it leaves out
(a block at 0 on a logarithmic axis, "rest" far from the blocks) its caption or the tables say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from impcore.rg.analysis import SHARES, Analysis
from impcore.rg.checks import Floats
from impcore.rg.report.drawing import (
    DISTINCT,
    FIRST_TO_LAST,
    block_colors,
    legend_below,
    literal,
    literals,
    log_axis,
    new_figure,
    pad,
    percent_axis,
    round_colors,
    round_ticks,
    style,
)
from impcore.rg.run import Run
from impcore.rg.vectors import REST

RELEVANCE = {"relevant": "#b2182b", "irrelevant": "#2166ac", "marginal": "#666666"}
_MARKERS = "osD^vPX*<>"  # circles and squares first, as in [R] Fig. 2
_SHAPES = {"relevant": "^", "irrelevant": "v", "marginal": "o"}


def accuracy(runs: Sequence[tuple[str, Run]]) -> Figure:
    """Test accuracy against density; density falls from left to right, as pruning goes."""
    with style():
        figure, axes = new_figure()
        densities = [100 * run.density for _, run in runs]
        percents = [100 * run.accuracy for _, run in runs]
        if len(runs) == 1:
            _one_accuracy(axes, densities[0], percents[0])
        else:
            labels = [label for label, _ in runs]
            handles = [
                axes.plot(x, y, "o-", color=color, ms=3.5)[0]
                for x, y, color in zip(densities, percents, block_colors(labels), strict=True)
            ]
            legend_below(figure, handles, labels)
        axes.set_xscale("log")
        percent_axis(axes, "x", np.concatenate(densities))
        axes.invert_xaxis()
        everything = np.concatenate(percents)
        # A hundredth of a point is not to look like a rise.
        pad(axes, everything[np.isfinite(everything)], least=2.0)
        round_ticks(axes, most=100)
        axes.set(xlabel="density (% of weights remaining)", ylabel="test accuracy (%)")
    return figure


def _one_accuracy(axes: Axes, density: Floats, percent: Floats) -> None:
    axes.axhline(percent[0], color="#999999", linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(density, percent, "-", color="#333333", zorder=2)
    axes.scatter(density, percent, c=round_colors(len(percent)), s=26, zorder=3)


def flow(analysis: Analysis) -> Figure:
    """The observable of each block against the round; an eigenfunction is a straight line."""
    shown = flow_columns(analysis)
    names = [analysis.names[column] for column in shown]
    with style():
        figure, axes = new_figure(extra=0.2 * math.ceil(len(names) / 4))
        shares = (100 if analysis.observable in SHARES else 1) * analysis.values[:, shown]
        shares[shares == 0] = np.nan
        handles = []
        for share, name, color in zip(shares.T, names, block_colors(names), strict=True):
            (line,) = axes.plot(
                analysis.states,
                share,
                marker="o" if len(names) <= len(DISTINCT) + 1 else "",
                color=color,
                linestyle=(0, (3, 2)) if name == REST else "-",
            )
            handles.append(line)
        axes.set_yscale("log")
        (percent_axis if analysis.observable in SHARES else log_axis)(axes, "y", shares)
        first, last = analysis.states[0], max(analysis.states[-1], analysis.states[0] + 1)
        margin = 0.04 * (last - first)
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set(xlabel="round n", ylabel=_axis_label(analysis.observable))
        legend_below(figure, handles, names)
    return figure


def _axis_label(observable: str) -> str:
    what = {"M": ", % of remaining magnitude", "P": ", % of remaining weights"}
    if observable in what:
        return f"${observable}_i(n)$" + what[observable]
    return literal(observable)


def flow_columns(analysis: Analysis) -> list[int]:
    """The columns that `flow` draws: all, or without "rest" where it would squeeze the blocks."""
    everything = list(range(len(analysis.names)))
    blocks = [i for i in everything if analysis.names[i] != REST]
    if len(blocks) < 2 or len(blocks) == len(everything):
        return everything
    squeezed = _log_span(analysis.values[:, blocks]) < 0.4 * _log_span(analysis.values)
    return blocks if squeezed else everything


def _log_span(values: npt.NDArray[np.float64]) -> float:
    positive = values[values > 0]
    return float(np.log(positive.max() / positive.min())) if positive.size else 0.0


def projection_blocks(analysis: Analysis) -> tuple[int, int] | None:
    """Columns of the blocks with the largest and the smallest mean σ; the first two without σ.

    None where there is no path to project: a single block, or fewer than two states.
    """
    columns = [i for i, name in enumerate(analysis.names) if name != REST]
    if len(columns) < 2:
        columns = list(range(len(analysis.names)))
    if len(columns) < 2 or len(analysis.values) < 2:
        return None
    means = {}
    for i in columns:
        index = analysis.index(analysis.names[i])
        if analysis.eigen is not None and index is not None:
            means[i] = float(analysis.eigen.sigma_mean[index])
    if len(means) < 2:
        return columns[0], columns[1]
    ranked = sorted(means, key=lambda i: (-means[i], i))
    return ranked[0], ranked[-1]


def projection(flows: Sequence[tuple[str, Analysis]], pair: tuple[int, int]) -> Figure:
    """[R] Fig. 2: flows projected on two of the observables, blue to red; one marker a run."""
    first = flows[0][1]
    scale = 100 if first.observable in SHARES else 1
    unit = " (%)" if scale == 100 else ""
    rounds = [n for _, analysis in flows for n in analysis.states]
    edges = np.arange(min(rounds), max(rounds) + 2) - 0.5
    with style():
        figure, axes = new_figure()
        points, everything = None, []
        for number, (_, analysis) in enumerate(flows):
            x, y = (scale * analysis.values[:, column] for column in pair)
            axes.plot(x, y, "-", color="#bbbbbb", linewidth=1, zorder=2)
            points = axes.scatter(
                x,
                y,
                c=analysis.states,
                cmap=FIRST_TO_LAST,
                norm=BoundaryNorm(edges, FIRST_TO_LAST.N),
                s=34,
                marker=_MARKERS[number % len(_MARKERS)],
                edgecolors="white",
                linewidths=0.5,
                zorder=3,
            )
            everything.append((x, y))
        if points is not None:
            _round_bar(figure, axes, points, min(rounds), max(rounds))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        pad(axes, np.concatenate([y for _, y in everything]))
        pad(axes, np.concatenate([x for x, _ in everything]), "x")
        symbol = f"${first.observable}_i$" if scale == 100 else literal(first.observable)
        names = literals(first.names)
        axes.set_xlabel(f"{symbol}, i = {names[pair[0]]}{unit}")
        axes.set_ylabel(f"{symbol}, i = {names[pair[1]]}{unit}")
        if len(flows) > 1:
            handles = [
                Line2D([], [], color="#666666", marker=_MARKERS[i % len(_MARKERS)], ls="none", ms=6)
                for i in range(len(flows))
            ]
            legend_below(figure, handles, [label for label, _ in flows])
    return figure


def sigma(analysis: Analysis) -> Figure:
    """Mean σ of each block: thick bar ± SEM, thin bar the t-interval, colour the relevance."""
    result = analysis.eigen
    if result is None:
        raise ValueError(f"{analysis.observable} has no σ to draw: {analysis.reason}")
    with style():
        extra = max(0.0, 0.24 * (len(result.names) - 8))
        figure, axes = new_figure(extra=extra)
        axes.axvline(0, color="#555555", linewidth=0.9)
        rows = zip(
            result.sigma_mean,
            result.sigma_sem,
            result.sigma_low,
            result.sigma_high,
            result.relevance,
            strict=True,
        )
        for place, (mean, sem, low, high, verdict) in enumerate(rows):
            color = RELEVANCE[verdict]
            axes.plot([low, high], [place, place], "-", color=color, linewidth=1.1)
            axes.plot([mean - sem, mean + sem], [place] * 2, color=color, lw=6, alpha=0.4)
            axes.plot(mean, place, _SHAPES[verdict], color=color, ms=6.5)
        axes.set_yticks(range(len(result.names)), literals(result.names))
        axes.set_ylim(len(result.names) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(7))
        of = f"${analysis.observable}_i$" if analysis.observable in SHARES else ""
        axes.set_xlabel(f"$\\sigma_i$ of {of or literal(analysis.observable)}")
        shown = [verdict for verdict in RELEVANCE if verdict in result.relevance]
        handles = [
            Line2D([], [], color=RELEVANCE[v], marker=_SHAPES[v], ls="none", ms=7) for v in shown
        ]
        legend_below(figure, handles, shown)
    return figure


def _round_bar(figure: Figure, axes: Axes, points: PathCollection, first: int, last: int) -> None:
    bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=28)
    bar.set_label("round n (blue: first, red: last)")
    bar.set_ticks(list(range(first, last + 1, math.ceil((last + 1 - first) / 8))))
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=2)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)  # else a bitmap: not crisp, and not inline
