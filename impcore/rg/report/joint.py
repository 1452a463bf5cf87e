"""The words and tables of a report about several runs.

Invariant: runs, means over seeds and published rows stand in one table of σ only where their blocks
are the same and the runs' σ are of one observable; a cell is coloured by its relevance, for a
published row by the sign that was printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from impcore.rg import published
from impcore.rg.exponents import SeedFits
from impcore.rg.fitted import Fit
from impcore.rg.formats import DASH, percent, probability, rounded, signed, span, with_sem
from impcore.rg.report import notes, page
from impcore.rg.report.comparison import Comparison
from impcore.rg.report.page import Cell, Html
from impcore.rg.report.subject import Group, Options, Subject
from impcore.rg.similarity import distance, fixed_point
from impcore.rg.vectors import Vector

_PAIRS = 8  # runs up to which every pair is listed with its interval


def heading(subjects: Sequence[Subject], groups: Sequence[Group]) -> Html:
    """What the report is about."""
    runs = f"{len(subjects)} runs"
    plural = "s" * (len(groups) != 1)
    experiments = f" of {len(groups)} experiment{plural}" if len(groups) < len(subjects) else ""
    methods = {subject.run.method for subject in subjects}
    how = methods.pop() if len(methods) == 1 else "pruning by several methods"
    return page.join(
        Html("<h1>Pruning flows compared</h1>"),
        page.paragraph(f"{runs}{experiments}: iterative {how} and its flow.", "lead"),
        overview(subjects),
    )


def overview(subjects: Sequence[Subject]) -> Html:
    """A line a run: what it is, how far it went, how accurate it was; where, if labels differ."""
    headers = (
        "run", "experiment", "states", "weights", "last density", "first accuracy",
        "best accuracy", "last accuracy", "θ",
    )  # fmt: skip
    named = all(one.label == one.run.path.name for one in subjects)
    rows: list[tuple[str, ...]] = []
    for one in subjects:
        run, accuracy = one.run, one.run.accuracy
        known = accuracy[np.isfinite(accuracy)]
        ends = (known[0], known.max(), known[-1]) if len(known) else [np.nan] * 3
        rows.append(
            (
                one.label,
                one.group,
                str(len(run.remaining)),
                f"{run.total:,}",
                percent(float(run.density[-1])) if len(run.remaining) else DASH,
                *(percent(float(value)) for value in ends),
                run.theta,
                *(() if named else (str(run.path),)),
            )
        )
    return page.table(headers if named else (*headers, "directory"), rows)


def comparison(one: Comparison) -> Html:
    """σ of every run, mean and published row, block by block."""
    rows: list[Sequence[str | Cell]] = [
        (label, *(_cell(found, i) for i in range(len(one.names))))
        for label, found in (*one.runs, *one.means)
    ]
    rows += [
        (label, *map(Cell, one.printed[label], found.relevance)) for label, found in one.published
    ]
    table = page.table(("σ ± SEM", *one.names), rows, one.title)
    return page.join(table, page.paragraph(one.note, "note")) if one.note else table


def _cell(found: Vector, index: int) -> Cell:
    sigma, sem = float(found.sigma_mean[index]), float(found.sigma_sem[index])
    return Cell(with_sem(sigma, sem), found.relevance[index])


def reasons(subjects: Sequence[Subject]) -> Html:
    """Runs without σ, and why."""
    return page.join(
        *(
            page.paragraph(f"{one.label}: no σ. {one.first.reason}", "warning")
            for one in subjects
            if one.eigen is None
        )
    )


def seeds(groups: Sequence[Group]) -> list[Html]:
    """What the seeds of each experiment agree on, or why they have no mean."""
    made = []
    for group in groups:
        if group.seeds is not None:
            shown = group.seeds.table()
            made.append(
                page.table(
                    shown.headers, shown.rows, f"{group.label}, {group.measured}: {shown.title}"
                )
            )
        elif group.differing:
            blocks = "; ".join(f"{label}: {names}" for label, names in group.differing.items())
            words = (
                f"{group.label}: no mean σ over seeds, which differ in what it is of ({blocks})."
            )
            made.append(page.paragraph(words, "warning"))
        for label, kept in group.repeats.items():
            words = f"{label} has the seed or the flow of {kept}: no further seed, and in no mean."
            made.append(page.paragraph(words, "warning"))
    return made


def distances(one: Comparison, level: float) -> Html:
    """Every pair of runs with its interval, where they are few; the whole matrix else."""
    if len(one.runs) < 2:
        return Html("")
    if len(one.runs) > _PAIRS and one.clusters is not None:
        shown = one.clusters.table()
        title = f"Distance of σ of {one.measured}, root mean square over the blocks"
        return page.table(shown.headers, shown.rows, title)
    found = [
        (a, b, distance(first, second, level=level))
        for (a, first), (b, second) in combinations(one.runs, 2)
    ]
    found.sort(key=lambda pair: pair[2].value)
    rows = [
        (f"{a} – {b}", rounded(d.value), rounded(d.noise), span(d.low, d.high),
         probability(d.p_same))
        for a, b, d in found
    ]  # fmt: skip
    headers = ("pair", "distance", "noise", f"{100 * level:g} % interval", "p, if equal")
    title = f"Distance of σ of {one.measured} between runs, root mean square over the blocks"
    return page.table(headers, rows, title)


def static(subjects: Sequence[Subject]) -> Html:
    """The fixed-point score of every run."""
    scores = [
        (one, fixed_point(blocks).table()) for one in subjects if (blocks := one.blocks) is not None
    ]
    if not scores:
        return Html("")
    rows = [(one.label, one.measured, *score.rows[0]) for one, score in scores]
    headers = ("run", "σ of", *scores[0][1].headers)
    return page.table(headers, rows, "How static each flow is: 0 at a fixed point")


def exponents(subjects: Sequence[Subject], groups: Sequence[Group]) -> list[Html]:
    """Eq. 15 of every run, means over seeds, and Table 7 of the paper."""
    rows = [_exponent_row(one) for one in subjects if one.fit is not None]
    missing = [f"{one.label}: {one.no_fit}" for one in subjects if one.fit is None]
    for group in groups:
        if group.fits is not None:
            means = group.fits.means
            rows.append(
                (
                    f"{group.label} (mean of {len(group.fits.fits)} seeds)",
                    signed(-means["|γ|"], 3) + _fewer(group.fits, "|γ|"),
                    span(*group.fits.intervals["|γ|"]),
                    *(
                        rounded(means[name]) + _fewer(group.fits, name)
                        for name in ("ε_np", "ε†", "p")
                    ),
                    DASH,
                    DASH,
                )
            )
    headers = ("run", "γ", "interval of |γ|", "ε_np", "ε†", "p", "scatter", "starts")
    made = [page.table(headers, rows, "Eq. 15, branch γ < 0")] if rows else []
    made += [page.paragraph("No critical exponent. " + " ".join(missing))] if missing else []
    return [*made, page.shown(published.table(7).table())] if rows else made


def _exponent_row(one: Subject) -> tuple[str, ...]:
    fit = one.fit
    assert fit is not None
    found = fit.parameters
    return (
        one.label,
        signed(found.gamma, 3) + _star(fit, "|γ|"),
        span(*fit.intervals["|γ|"]),
        *(
            rounded(value) + _star(fit, name)
            for name, value in (("ε_np", found.eps_np), ("ε†", found.eps_dagger), ("p", found.p))
        ),
        percent(fit.scatter),
        f"{fit.agreeing[0]} of {fit.agreeing[1]}",
    )


def _star(fit: Fit, name: str) -> str:
    return "*" if name in fit.at_bound else ""


def _fewer(fits: SeedFits, name: str) -> str:
    """Of how many seeds a mean is, where a bound holds the parameter in others."""
    count, known = len(fits.fits), fits.counted[name]
    return "" if known == count else f" ({known} of {count})"


def published_tables(numbers: Sequence[int]) -> list[Html]:
    """Tables asked for, as printed."""
    return [page.shown(published.table(number).table()) for number in numbers]


def about(subjects: Sequence[Subject], options: Options) -> Html:
    """Definitions, sources and limits."""
    thetas = list(dict.fromkeys(one.run.theta for one in subjects))
    words = notes.closing(*thetas, estimator=options.estimator, several=True)
    paragraphs = [page.prose(some) for some in words]
    return page.section("What these numbers are", *paragraphs)
