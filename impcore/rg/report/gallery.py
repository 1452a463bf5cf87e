"""The figures of a report: what is drawn, what its caption says, and the numbers behind it.

Invariant: every figure comes with a caption that says what it leaves out, and with its data as a
tidy table, so that it can be redrawn without the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from impcore.rg.analysis import Analysis
from impcore.rg.formats import percent
from impcore.rg.report import curves, figures, maps, page
from impcore.rg.report.comparison import Comparison
from impcore.rg.report.drawing import svg
from impcore.rg.report.page import Html
from impcore.rg.report.subject import Subject
from impcore.rg.vectors import REST

Cell = str | int | float
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with its words and its data."""

    name: str  # of its files, and prefix of its ids
    figure: Figure
    label: str  # for a screen reader
    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def html(self) -> Html:
        """The figure, inline."""
        return page.figure(svg(self.figure, self.name), self.label, self.caption)


def gallery(subjects: Sequence[Subject], comparisons: Sequence[Comparison]) -> list[Drawn]:
    """Every figure that the runs have data for."""
    makers = (_accuracy, _projection, _flows, _sigmas, _exponents)
    made = [drawn for maker in makers for drawn in maker(subjects)]
    return [
        *made,
        *(drawn for number, one in enumerate(comparisons) for drawn in _maps(one, number)),
    ]


def _accuracy(subjects: Sequence[Subject]) -> Iterator[Drawn]:
    shown = [one for one in subjects if np.isfinite(one.run.accuracy).any()]
    if not shown:
        return
    runs = [(one.label, one.run) for one in shown]
    rows = [
        (one.label, n, float(one.run.density[n]), float(one.run.accuracy[n]))
        for one in shown
        for n in range(len(one.run.remaining))
    ]
    caption = "Test accuracy against density, pruning from left to right, one line a run."
    if len(shown) == 1:
        run = shown[0].run
        caption = (
            "Test accuracy against density, pruning from left to right, blue (first round) to red "
            f"(last): {percent(float(run.accuracy[0]))} at first (dashed), "
            f"{percent(float(run.accuracy[-1]))} at density {percent(float(run.density[-1]))}."
        )
    label = "Test accuracy against density"
    headers = ("run", "round", "density", "accuracy")
    yield Drawn("accuracy", figures.accuracy(runs), label, caption, headers, tuple(rows))


def _projection(subjects: Sequence[Subject]) -> Iterator[Drawn]:
    pairs = [(one, pair) for one in subjects if (pair := figures.projection_blocks(one.first))]
    if not pairs:
        return
    subjects, (_, pair) = [one for one, _ in pairs], pairs[0]
    first = subjects[0].first
    alike = [
        one
        for one in subjects
        if (one.measured, one.first.names) == (subjects[0].measured, first.names)
    ]
    others = [one.label for one in subjects if one not in alike]
    missing = f" Not drawn, of other blocks or observables: {', '.join(others)}." if others else ""
    i, j = (first.names[column] for column in pair)
    known = None not in (first.index(i), first.index(j))
    of = "" if len(subjects) == 1 else f" in {subjects[0].label}"
    choice = f", the blocks with the largest and the smallest σ{of}" if known else ""
    each = "one point a round" if len(alike) == 1 else "one point a round, one marker a run"
    rows = tuple(
        (one.label, n, float(one.first.values[k, pair[0]]), float(one.first.values[k, pair[1]]))
        for one in alike
        for k, n in enumerate(one.first.states)
    )
    yield Drawn(
        "projection",
        figures.projection([(one.label, one.first) for one in alike], pair),
        f"Flow projected on {first.observable} of {i} and {first.observable} of {j}",
        f"The flow projected on {i} and {j}{choice}, as in Fig. 2 of Redman et al.: {each}, "
        f"blue (first) to red (last).{missing}",
        ("run", "round", i, j),
        rows,
    )


def _flows(subjects: Sequence[Subject]) -> Iterator[Drawn]:
    """Every observable of one run; of many, the first observable of each."""
    if len(subjects) == 1:
        for place, analysis in enumerate(subjects[0].analyses.values()):
            if len(analysis.states):
                yield _flow(subjects[0], analysis, f"flow-{_plain(analysis, place)}", named=False)
        return
    for number, one in enumerate(subjects):
        if len(one.first.states):
            name = f"flow-{_plain(one.first, 0)}-{number}"
            yield _flow(one, one.first, name, named=True)


def _plain(analysis: Analysis, place: int) -> str:
    """The observable's name in a file's name or an id; its place if that is no plain word.

    A file that a stranger made may call an observable anything, "../../x" as well.
    """
    name = analysis.observable
    return name if _WORD.fullmatch(name) else f"observable-{place}"


def _flow(one: Subject, analysis: Analysis, name: str, named: bool) -> Drawn:
    of = f" of {one.label}" if named else ""
    caption = (
        f"Flow of {analysis.observable} per block{of} on a logarithmic axis: a block whose λ is "
        "constant is a straight line."
    )
    if len(figures.flow_columns(analysis)) < len(analysis.names):
        share = analysis.values[:, analysis.names.index(REST)]
        first, last = percent(float(share[0])), percent(float(share[-1]))
        caption += f" Not drawn, because far off: “rest”, {first} at first and {last} at last."
    rows = tuple(
        (one.label, n, block, float(analysis.values[k, column]))
        for k, n in enumerate(analysis.states)
        for column, block in enumerate(analysis.names)
    )
    return Drawn(
        name,
        figures.flow(analysis),
        f"Flow of {analysis.observable} per block{of}",
        caption,
        ("run", "round", "block", analysis.observable),
        rows,
    )


def _sigmas(subjects: Sequence[Subject]) -> Iterator[Drawn]:
    """σ of every observable, where the report is of one run; of many, the heat map shows it."""
    if len(subjects) > 1:
        return
    for place, analysis in enumerate(subjects[0].analyses.values()):
        result = analysis.eigen
        if result is None:
            continue
        vectors = (result.sigma_mean, result.sigma_sem, result.sigma_low, result.sigma_high)
        rows: list[tuple[Cell, ...]] = [
            (name, *(float(vector[i]) for vector in vectors), result.relevance[i])
            for i, name in enumerate(result.names)
        ]
        bars = (
            f"Thick bar: ± SEM over the steps; thin bar: {100 * result.level:g} % interval; colour "
            "and marker: relevance."
        )
        if not np.isfinite(result.sigma_sem).any():
            bars = "Without bars, because a single step has no SEM; so all are marginal."
        yield Drawn(
            f"sigma-{_plain(analysis, place)}",
            figures.sigma(analysis),
            f"σ of {analysis.observable} per block with error bars",
            f"σ of {analysis.observable} per block. {bars}",
            ("block", "sigma", "sem", "low", "high", "relevance"),
            tuple(rows),
        )


def _exponents(subjects: Sequence[Subject]) -> Iterator[Drawn]:
    fits = [(one.label, one.fit) for one in subjects if one.fit is not None]
    if not fits:
        return
    rows = tuple(
        (label, float(fit.density[n]), float(fit.error[n]), float(fit.predict(fit.density[n])),
         float(fit.residuals[n]))
        for label, fit in fits
        for n in range(len(fit.density))
    )  # fmt: skip
    what = (
        "Error against density with the fit of eq. 15"
        if len(fits) == 1
        else "Error over its fitted unpruned level, overlaid as in Fig. 3, with the fits of eq. 15"
    )
    yield Drawn(
        "exponents",
        curves.scaling(fits),
        f"{what}, and its residuals",
        f"{what} of Redman et al.; below, the relative deviation of the fit from each point.",
        ("run", "density", "error", "fitted", "deviation"),
        rows,
    )


def _maps(one: Comparison, number: int) -> Iterator[Drawn]:
    """σ of several runs and published rows as a heat map, and the tree of their distances."""
    clusters = one.clusters
    if clusters is None:
        return
    rows = tuple(
        (clusters.labels[i], name, float(clusters.sigma[i, k]))
        for i in clusters.order
        for k, name in enumerate(one.names)
    )
    suffix = f"-{number}" if number else ""
    beside = f" {one.note}" if one.note else ""
    yield Drawn(
        f"heat-map{suffix}",
        maps.heat_map(clusters, one.names),
        f"Heat map: {one.title}",
        f"{one.title}: red is above 0, blue below, whatever the interval; beyond the scale's ends "
        "σ has the ends' colour. Rows in the order of the tree: neighbours are alike."
        f"{beside}",
        ("run", "block", "sigma"),
        rows,
    )
    if len(clusters.labels) < 3:
        return
    links = tuple(tuple(float(value) for value in row) for row in clusters.linkage)
    yield Drawn(
        f"dendrogram{suffix}",
        maps.dendrogram(clusters),
        "Dendrogram of the distances of σ",
        "Hierarchical clustering of the same rows by the root mean square difference of their σ "
        f"({clusters.method} linkage): where two branches join is how far apart they are.",
        ("first", "second", "distance", "members"),
        links,
    )
