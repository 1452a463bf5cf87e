"""The words and tables of a report over tasks: how it began, how well the runs do, and their σ.

Invariant: numbers only; what one seed decides is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from impcore.rg.checks import Floats
from impcore.rg.formats import percent, signed, with_sem
from impcore.rg.report import joint, page
from impcore.rg.report.grid import PERCENT, Grid, Key
from impcore.rg.report.page import Html
from impcore.rg.report.subject import Options
from impcore.rg.stats import mean_and_sem

_FEW = 8  # names listed in full


def heading(grid: Grid) -> Html:
    """What is compared, in the words of whoever set it up."""
    tasks = grid.tasks
    lead = (
        f"{len(tasks.tasks)} tasks ({', '.join(tasks.tasks)}) from {len(tasks.inits)} "
        f"initialisations ({', '.join(tasks.inits)}): iterative magnitude pruning and its flow."
    )
    missing = f"Not measured yet: {', '.join(tasks.missing)}." if tasks.missing else ""
    return page.join(
        Html(f"<h1>{page.text(tasks.name)}</h1>"),
        page.paragraph(lead, "lead"),
        page.paragraph(tasks.about, "note") if tasks.about else Html(""),
        page.paragraph(missing, "warning") if missing else Html(""),
    )


def start(grid: Grid) -> list[Html]:
    """The pre-training, and what each run took over from weights that it was given."""
    made = []
    before = grid.tasks.pretraining
    if before is not None and before.rows:
        name, values = before.headline
        data = before.setting("data", "name")
        length = before.setting("train", "length")
        words = f"Pre-trained once on {data} for {length}, without pruning, to a test {name} of"
        made.append(page.paragraph(f"{words} {_score(name, float(values[0]))}."))
    rows = []
    for (init, task), one in grid.subjects.items():
        found = grid.tasks.weights(init, task)
        if found:
            rows.append((one.label, str(len(found["taken"])), _short(found["left"])))
    headers = ("run", "tensors taken over", "left random")
    return [*made, page.table(headers, rows, "Given weights")] if rows else made


def _short(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


def scores(grid: Grid) -> list[Html]:
    """Every task's metric dense, at its best and last; initialisations against the first."""
    inits = grid.tasks.inits
    if not grid.scores:
        return []
    ends = ("dense", "best", "last")
    rows = []
    for task in grid.tasks.tasks:
        cells: list[str] = []
        for init in inits:
            name, values = grid.scores.get((init, task), ("", np.full(1, np.nan)))
            three = (values[0], values.max(), values[-1])
            cells += (_score(name, float(value)) for value in three)
        rows.append((task, grid.metric(task), *cells))
    headers = ("task", "metric", *(f"{init}, {end}" for init in inits for end in ends))
    return [page.table(headers, rows, "On the test set"), *_gains(grid)]


def _score(name: str, value: float) -> str:
    return percent(value) if name in PERCENT else signed(value, 4)


def _gains(grid: Grid) -> list[Html]:
    rows = list(_against(grid))
    if not rows:
        return []
    headers = ("task", "from", "dense", "last", "mean over densities", "ahead at")
    title = f"Gain over {grid.tasks.inits[0]} weights, in hundredths (points of an accuracy)"
    words = (
        "± is the SEM over the densities of one run a task, which share their test examples and "
        "their seed: it is no uncertainty over either."
    )
    return [page.table(headers, rows, title), page.paragraph(words)]


def _against(grid: Grid) -> Iterator[tuple[str, ...]]:
    base, *others = grid.tasks.inits
    for task in grid.tasks.tasks:
        for init in others:
            gain = _gain(grid, (init, task), (base, task))
            if gain is None:
                continue
            mean, sem = (float(value[0]) for value in mean_and_sem(gain[:, None]))
            ahead = f"{int((gain > 0).sum())} of {len(gain)} densities"
            ends = (signed(float(gain[0]), 2), signed(float(gain[-1]), 2))
            yield task, init, *ends, with_sem(mean, sem), ahead


def _gain(grid: Grid, here: Key, there: Key) -> Floats | None:
    """100 times the difference at the densities that both have come to, if those are the same."""
    if here not in grid.scores or there not in grid.scores:
        return None
    runs = [grid.subjects[key].run for key in (here, there)]
    common = min(len(run.remaining) for run in runs)
    one, other = (run.density[:common] for run in runs)
    if not np.allclose(one, other, rtol=1e-3):
        return None
    return 100 * (grid.scores[here][1][:common] - grid.scores[there][1][:common])


def sigmas(grid: Grid, options: Options) -> Html:
    """σ of the tasks, a table an initialisation, as Tables 2 and 3 of [R] have them."""
    tables = [
        joint.comparison(one)
        for init in grid.tasks.inits
        for one in grid.comparisons(init, options)
    ]
    return page.beside(tables)
