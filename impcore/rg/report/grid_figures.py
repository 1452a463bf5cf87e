"""The figures of tasks against initialisations: the score of each task, and σ of every block.

Invariant: colour is the initialisation and the marker is the task, in every figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from impcore.rg.checks import Floats
from impcore.rg.report.drawing import (
    block_axis,
    block_colors,
    legend_below,
    literal,
    new_figure,
    pad,
    percent_axis,
    round_ticks,
    style,
)
from impcore.rg.report.gallery import Cell, Drawn
from impcore.rg.report.grid import PERCENT, Grid, Key
from impcore.rg.vectors import Vector

_MARKERS = "osD^vPX*<>"
_WIDEST = 0.7  # of the space of a block that its points take


def drawn(grid: Grid) -> list[Drawn]:
    """Every figure that the runs have data for."""
    return [*_sigmas(grid), *_scores(grid)]


def _scores(grid: Grid) -> Iterator[Drawn]:
    for number, task in enumerate(grid.tasks.tasks):
        shown = {
            init: (grid.subjects[init, task].run.density, grid.scores[init, task][1])
            for init in grid.tasks.inits
            if (init, task) in grid.scores
        }
        if not shown:
            continue
        name = grid.metric(task)
        rows = tuple(
            (task, init, n, float(density[n]), float(values[n]))
            for init, (density, values) in shown.items()
            for n in range(len(values))
        )
        yield Drawn(
            f"score-of-task-{number}",
            _score_figure(grid, shown, name),
            f"Test {name} against density, {task}",
            f"{task}: test {name} against density, one line an initialisation.",
            ("task", "init", "round", "density", name),
            rows,
        )


def _score_figure(grid: Grid, shown: Mapping[str, tuple[Floats, Floats]], metric: str) -> Figure:
    colors = dict(zip(grid.tasks.inits, block_colors(grid.tasks.inits), strict=True))
    scale = 100 if metric in PERCENT else 1
    with style():
        figure, axes = new_figure()
        handles = [
            axes.plot(100 * density, scale * values, "o-", color=colors[init], ms=3.5)[0]
            for init, (density, values) in shown.items()
        ]
        axes.set_xscale("log")
        percent_axis(axes, "x", np.concatenate([100 * density for density, _ in shown.values()]))
        axes.invert_xaxis()
        pad(axes, np.concatenate([scale * values for _, values in shown.values()]))
        round_ticks(axes, most=100 if scale == 100 else math.inf)
        unit = " (%)" if scale == 100 else ""
        axes.set(xlabel="density (% of weights remaining)", ylabel=f"test {literal(metric)}{unit}")
        legend_below(figure, handles, list(shown))
    return figure


def _sigmas(grid: Grid) -> Iterator[Drawn]:
    """A figure an observable: as a rule one."""
    known = {key: one for key, one in grid.subjects.items() if one.blocks is not None}
    for number, measured in enumerate(dict.fromkeys(one.measured for one in known.values())):
        found = {
            key: one.blocks
            for key, one in known.items()
            if one.measured == measured and one.blocks is not None
        }
        yield _sigma_drawn(grid, found, measured, f"-{number}" if number else "")


def _sigma_drawn(grid: Grid, found: Mapping[Key, Vector], measured: str, suffix: str) -> Drawn:
    names = max((one.names for one in found.values()), key=len)
    names = tuple(dict.fromkeys([*names, *(name for one in found.values() for name in one.names)]))
    rows: list[tuple[Cell, ...]] = [
        (init, task, name, float(one.sigma_mean[i]), float(one.sigma_sem[i]))
        for (init, task), one in found.items()
        for i, name in enumerate(one.names)
    ]
    return Drawn(
        f"sigma-side-by-side{suffix}",
        _sigma_figure(grid, found, names, measured),
        f"σ of {measured} of every block, by task and initialisation",
        f"σ of {measured} of every block ± SEM over the steps: colour is the initialisation, the "
        "marker the task. Where tasks are alike their markers lie together.",
        ("init", "task", "block", "sigma", "sem"),
        tuple(rows),
    )


def _sigma_figure(
    grid: Grid, found: Mapping[Key, Vector], names: tuple[str, ...], measured: str
) -> Figure:
    inits, tasks = grid.tasks.inits, grid.tasks.tasks
    colors = dict(zip(inits, block_colors(inits), strict=True))
    order = [(init, task) for init in inits for task in tasks]
    offsets = np.linspace(-_WIDEST / 2, _WIDEST / 2, len(order)) if len(order) > 1 else [0.0]
    with style():
        figure, axes = new_figure(extra=0.4)
        axes.axhline(0, color="#555555", linewidth=0.9)
        for key, offset in zip(order, offsets, strict=True):
            if key not in found:
                continue
            one, marker = found[key], _marker(tasks.index(key[1]))
            places = [names.index(name) + offset for name in one.names]
            sem = np.nan_to_num(one.sigma_sem)
            axes.errorbar(
                places, one.sigma_mean, yerr=sem, fmt=marker, color=colors[key[0]],
                ms=4.5, elinewidth=1,
            )  # fmt: skip
        block_axis(axes, names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(7))
        axes.set_ylabel(f"$\\sigma_i$ of {measured}")
        _legend(figure, colors, tasks)
    return figure


def _marker(task: int) -> str:
    return _MARKERS[task % len(_MARKERS)]


def _legend(figure: Figure, colors: Mapping[str, Any], tasks: Sequence[str]) -> None:
    """Bars in the colours of the initialisations, then the tasks' markers in grey."""
    handles = [Line2D([], [], color=color, linewidth=6) for color in colors.values()]
    handles += [
        Line2D([], [], color="#666666", marker=_marker(i), ls="none", ms=6)
        for i in range(len(tasks))
    ]
    legend_below(figure, handles, [*colors, *tasks])
