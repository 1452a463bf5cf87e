"""Tidy CSV files: one observation a row, one variable a column, floats to the last bit.

Invariant: what is not defined is "nan"; the same data give the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from impcore.rg.report.comparison import Comparison
from impcore.rg.report.subject import Subject
from impcore.rg.similarity import distance

Cell = str | int | float


def render(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A CSV file, UTF-8, lines ended by a newline."""
    made = io.BytesIO()  # no text beside the bytes: many runs make hundreds of megabytes
    text = io.TextIOWrapper(made, "utf-8", "replace", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow([repr(float(cell)) if isinstance(cell, float) else cell for cell in row])
    text.flush()
    return made.getvalue()


def exponents(subjects: Sequence[Subject]) -> bytes:
    """A row a run: the fit of eq. 15 on the branch γ < 0."""
    names = ("eps_np", "eps_dagger", "gamma_abs", "p")
    bounds = [f"{name}_{end}" for name in names for end in ("low", "high")]
    headers = ("run", "group", *names, *bounds, "scatter", "r_squared", "deviation", "at_bound")
    rows: list[list[Cell]] = []
    for one in subjects:
        fit = one.fit
        if fit is None:
            continue
        found = fit.parameters
        ends = [float(end) for pair in fit.intervals.values() for end in pair]
        values: list[Cell] = [found.eps_np, found.eps_dagger, fit.gamma, found.p, *ends]
        tail: list[Cell] = [fit.scatter, fit.r_squared, fit.deviation, " ".join(fit.at_bound)]
        rows.append([one.label, one.group, *values, *tail])
    return render(headers, rows)


def distances(comparisons: Sequence[Comparison], level: float) -> bytes:
    """A row a pair of rows with the same blocks, published ones included.

    No run stands beside the mean that it is in: their errors are not independent.
    """
    headers = (
        "observable", "blocks", "first", "second", "distance", "noise", "low", "high", "p_same"
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for one in comparisons:
        for (a, first), (b, second) in combinations(one.rows, 2):
            if a in one.members.get(b, ()):
                continue
            d = distance(first, second, level=level)
            found = [d.value, d.noise, d.low, d.high, d.p_same]
            rows.append([one.measured, " ".join(one.names), a, b, *found])
    return render(headers, rows)


def rounds(subjects: Sequence[Subject]) -> bytes:
    """A row a trained state of every run."""
    headers = ("run", "group", "round", "density", "remaining", "accuracy", "loss")
    rows: list[list[Cell]] = [
        [
            one.label,
            one.group,
            n,
            float(one.run.density[n]),
            int(one.run.remaining[n]),
            float(one.run.accuracy[n]),
            one.run.rows[n].loss if one.run.rows else math.nan,
        ]
        for one in subjects
        for n in range(len(one.run.remaining))
    ]
    return render(headers, rows)
