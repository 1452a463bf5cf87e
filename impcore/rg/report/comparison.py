"""Runs side by side, and beside the published rows of the same blocks.

Invariant: only σ of the same blocks stand in one comparison: runs with the same block names, and
the rows of a published table that has the same blocks in the same order. Published σ carry no SEM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from impcore.rg import published
from impcore.rg.clusters import Clusters, cluster
from impcore.rg.report.subject import AUTO, Group, Options, Subject
from impcore.rg.vectors import REST, HasSigma, Vector, vector

_BLOCK = re.compile(r"layer(\d+)\.(\d+)")
_STAGE_TABLES = {1: 4, 2: 5, 3: 6}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows of σ over the same blocks."""

    title: str
    names: tuple[str, ...]
    runs: tuple[tuple[str, Vector], ...]
    means: tuple[tuple[str, Vector], ...]  # of groups of seeds
    published: tuple[tuple[str, Vector], ...]

    @property
    def rows(self) -> tuple[tuple[str, Vector], ...]:
        """All of them, in the order in which they are listed."""
        return (*self.runs, *self.means, *self.published)

    @cached_property
    def clusters(self) -> Clusters | None:
        """The tree of the runs and the published rows; None for a single row."""
        rows = dict((*self.runs, *self.published))
        if len(rows) < 2:
            return None
        sources: dict[str, HasSigma | Sequence[float]] = dict(rows)
        return cluster(sources)


def compare(
    subjects: Sequence[Subject], groups: Sequence[Group], options: Options
) -> list[Comparison]:
    """One comparison for each set of blocks, and for each stage that Tables 4 to 6 have."""
    sets: dict[tuple[str, ...], list[tuple[str, Vector]]] = {}
    for one in subjects:
        if one.eigen is not None and any(name != REST for name in one.eigen.names):
            found = vector(one.eigen)
            sets.setdefault(found.names, []).append((one.label, found))
    made: list[Comparison] = []
    for names, runs in sets.items():
        means = [
            (f"{group.label} (mean of {len(group.seeds.sigma)} seeds)", vector(group.seeds))
            for group in groups
            if group.seeds is not None and vector(group.seeds).names == names
        ]
        beside = [row for number in _tables(names, options) for row in _rows(number, len(names))]
        made.append(
            Comparison("σ by run and block", names, tuple(runs), tuple(means), tuple(beside))
        )
        made += _stages(names, runs, options)
    return made


def _tables(names: tuple[str, ...], options: Options) -> list[int]:
    """Tables whose rows have these blocks: Table 2 four stages, Table 3 twelve layers."""
    if options.beside != AUTO:
        return [int(number) for number in options.beside if int(number) != 7]
    if len(names) == 4 and all(name.startswith("stage") for name in names):
        return [2]
    return [3] if len(names) == 12 and all(name.startswith("layer.") for name in names) else []


def _rows(number: int, blocks: int) -> list[tuple[str, Vector]]:
    table = published.table(number)
    return [
        (f"Table {number}: {row}", table.vector(row))
        for row, values in table.rows.items()
        if len(values) == blocks
    ]


def _stages(
    names: tuple[str, ...], runs: list[tuple[str, Vector]], options: Options
) -> list[Comparison]:
    """The "normal" blocks of each stage (all but its first) beside Tables 4 to 6."""
    places = {i: match for i, name in enumerate(names) if (match := _BLOCK.fullmatch(name))}
    made = []
    for stage, number in _STAGE_TABLES.items():
        keep = [i for i, match in places.items() if int(match[1]) == stage and int(match[2]) > 0]
        wanted = options.beside == AUTO or number in options.beside
        rows = _rows(number, len(keep)) if keep and wanted else []
        if not rows:
            continue
        parts = tuple((label, _part(one, keep)) for label, one in runs)
        title = f"σ of the normal blocks of stage {stage}, beside Table {number}"
        made.append(Comparison(title, tuple(names[i] for i in keep), parts, (), tuple(rows)))
    return made


def _part(one: Vector, keep: list[int]) -> Vector:
    return Vector(
        tuple(one.names[i] for i in keep),
        np.asarray(one.sigma_mean[keep]),
        np.asarray(one.sigma_sem[keep]),
        one.dof,
        [one.relevance[i] for i in keep],
    )
