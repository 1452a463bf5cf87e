"""Tasks against initialisations: their accuracies and σ side by side, and what the paper says.

Invariant: a comparison is between runs that differ in the one thing compared: initialisations of
one task, or tasks from one initialisation. Numbers only; what one seed decides is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from impcore.rg.formats import DASH, figures, percent, signed, with_sem
from impcore.rg.report import joint, page
from impcore.rg.report.comparison import Comparison, compare
from impcore.rg.report.page import Html
from impcore.rg.report.subject import AUTO, Options, Subject
from impcore.rg.similarity import distance, fixed_point
from impcore.rg.stats import mean_and_sem
from impcore.rg.tasks import Tasks
from impcore.rg.vectors import Vector

Key = tuple[str, str]  # initialisation, task
_FEW = 8  # names listed in full


@dataclass(frozen=True, eq=False)
class Grid:
    """The runs of an experiment over tasks, analysed."""

    tasks: Tasks
    subjects: Mapping[Key, Subject]

    def of_init(self, init: str) -> dict[str, Subject]:
        """Task -> run, from one initialisation."""
        return {task: one for (start, task), one in self.subjects.items() if start == init}

    def of_task(self, task: str) -> dict[str, Subject]:
        """Initialisation -> run, of one task."""
        return {start: one for (start, other), one in self.subjects.items() if other == task}

    def comparisons(self, init: str, options: Options) -> list[Comparison]:
        """σ of the tasks from one initialisation; several where tasks differ in their blocks."""
        rows = [replace(one, label=task) for task, one in self.of_init(init).items()]
        made = compare(rows, [], replace(options, beside=()))
        return [replace(one, title=f"From {init} weights") for one in made]


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
        row = before.rows[0]
        data = before.setting("data", "name")
        length = before.setting("train", "length")
        words = f"Pre-trained once on {data} for {length}, without pruning, to a test accuracy of"
        made.append(page.paragraph(f"{words} {percent(row.accuracy)}."))
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


def accuracies(grid: Grid) -> list[Html]:
    """Dense, best and last accuracy of every task, and initialisations against the first."""
    inits = grid.tasks.inits
    known = {
        key: one.run.accuracy
        for key, one in grid.subjects.items()
        if np.isfinite(one.run.accuracy).all() and len(one.run.accuracy)
    }
    if not known:
        return []
    ends = ("dense", "best", "last")
    rows = []
    for task in grid.tasks.tasks:
        found = [known.get((init, task)) for init in inits]
        cells = [(a[0], a.max(), a[-1]) if a is not None else [np.nan] * 3 for a in found]
        rows.append((task, *(percent(float(value)) for three in cells for value in three)))
    headers = ("task", *(f"{init}, {end}" for init in inits for end in ends))
    made = [page.table(headers, rows, "Test accuracy")]
    against = list(_against(grid, known))
    if against:
        headers = ("task", "from", "dense", "last", "mean over densities", "ahead at")
        made.append(
            page.join(
                page.table(
                    headers, against, f"Accuracy minus that from {inits[0]} weights, points"
                ),
                page.paragraph(
                    "± is the SEM over the densities of one run a task, which share their test "
                    "images and their seed: it is no uncertainty over either."
                ),
            )
        )
    return made


def _against(grid: Grid, known: Mapping[Key, np.ndarray]) -> Iterator[tuple[str, ...]]:
    base, *others = grid.tasks.inits
    for task in grid.tasks.tasks:
        for init in others:
            here, there = known.get((init, task)), known.get((base, task))
            if here is None or there is None or len(here) != len(there):
                continue
            gain = 100 * (here - there)
            mean, sem = (float(value[0]) for value in mean_and_sem(gain[:, None]))
            ahead = f"{int((gain > 0).sum())} of {len(gain)} densities"
            ends = (signed(float(gain[0]), 2), signed(float(gain[-1]), 2))
            yield task, init, *ends, with_sem(mean, sem), ahead


def sigmas(grid: Grid, options: Options) -> Html:
    """σ of the tasks, a table an initialisation, as Tables 2 and 3 of [R] have them."""
    tables = [
        joint.comparison(one)
        for init in grid.tasks.inits
        for one in grid.comparisons(init, options)
    ]
    return page.beside(tables)


def claims(grid: Grid, options: Options) -> list[Html]:
    """What [R] Sec. 5 says of tasks and pre-training, and the same numbers here."""
    inits = grid.tasks.inits
    found = {init: _vectors(grid, init, options) for init in inits}
    if not any(found.values()):
        return []
    rows = [
        ("Tasks have the same relevant and irrelevant blocks (Sec. 5.1, Table 2): blocks whose σ "
         "has one sign in all tasks", *(_one_sign(found[init]) for init in inits)),
        ("Pre-training leaves relevant blocks relevant (Sec. 5.1): signs of σ as from "
         f"{inits[0]} weights", DASH,
         *(_as_before(found[inits[0]], found[init]) for init in inits[1:])),
        ("Pre-training makes σ more alike across tasks (Sec. 5.1): distance between tasks, mean of "
         "pairs (noise alone)", *(_apart(found[init]) for init in inits)),
        ("The flow of pre-trained BERT is nearly static (Sec. 5.2): rms σ, mean of tasks",
         *(_speed(found[init]) for init in inits)),
    ]  # fmt: skip
    headers = ("what Redman et al. find, and its measure", *(f"from {init}" for init in inits))
    words = (
        "The measures are of this model and these tasks, from one seed each: they show whether the "
        "same is seen here, and can neither support nor refute what was found on other networks "
        "and data. Signs are those of mean σ, whatever its interval."
    )
    printed = _printed(found, options)
    return [page.wide_table(headers, rows), page.paragraph(words), *joint.published_tables(printed)]


def _printed(found: Mapping[str, Mapping[str, Vector]], options: Options) -> list[int]:
    """The paper's table of tasks over blocks of this kind, unless others were asked for."""
    names = next(one.names for some in found.values() for one in some.values())
    if options.beside != AUTO:
        return []
    if all(name.startswith("stage") for name in names):
        return [2]
    return [3] if all(name.startswith("layer.") for name in names) else []


def _vectors(grid: Grid, init: str, options: Options) -> dict[str, Vector]:
    """Task -> σ, of the tasks that have the same blocks as the first."""
    made = grid.comparisons(init, options)
    return dict(made[0].runs) if made else {}


def _one_sign(found: Mapping[str, Vector]) -> str:
    if len(found) < 2:
        return DASH
    signs = np.sign([one.sigma_mean for one in found.values()])
    same = (signs == signs[0]).all(axis=0)
    return f"{int(same.sum())} of {len(same)}"


def _as_before(first: Mapping[str, Vector], other: Mapping[str, Vector]) -> str:
    pairs = [
        (first[task].sigma_mean, one.sigma_mean)
        for task, one in other.items()
        if task in first and first[task].names == one.names
    ]
    if not pairs:
        return DASH
    same = sum(int((np.sign(a) == np.sign(b)).sum()) for a, b in pairs)
    return f"{same} of {sum(len(a) for a, _ in pairs)}"


def _apart(found: Mapping[str, Vector]) -> str:
    pairs = [distance(a, b) for a, b in combinations(found.values(), 2)]
    if not pairs:
        return DASH
    value, noise = (np.mean([getattr(d, key) for d in pairs]) for key in ("value", "noise"))
    return f"{figures(float(value))} ({figures(float(noise))})"


def _speed(found: Mapping[str, Vector]) -> str:
    speeds = [fixed_point(one).speed for one in found.values()]
    return figures(float(np.mean(speeds))) if speeds else DASH
