"""Runs side by side, and beside the published rows of the same blocks.

Invariant: only σ of one observable and the same blocks stand in one comparison: runs with the same
block names, and the rows of a published table that has the same blocks, each beside its own.
Published σ carry no SEM, and are of M: where the runs' are of P it is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from impcore.rg import published
from impcore.rg.clusters import Clusters, cluster
from impcore.rg.report.subject import AUTO, Group, Options, Subject
from impcore.rg.vectors import HasSigma, Vector, vector

_BLOCK = re.compile(r"layer(\d+)\.(\d+)")
_TABLES = {2: [f"stage{i}" for i in range(1, 5)], 3: [f"layer.{i}" for i in range(12)]}
_STAGE_TABLES = {1: 4, 2: 5, 3: 6}
OF_M = "Published σ are of M, those of the runs of P."


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows of σ over the same blocks."""

    title: str
    measured: str  # what the runs' σ are of
    names: tuple[str, ...]
    runs: tuple[tuple[str, Vector], ...]
    means: tuple[tuple[str, Vector], ...]  # of groups of seeds
    published: tuple[tuple[str, Vector], ...]
    printed: Mapping[str, tuple[str, ...]]  # published row -> its cells in the paper
    members: Mapping[str, tuple[str, ...]]  # mean -> the runs of its group

    @property
    def rows(self) -> tuple[tuple[str, Vector], ...]:
        """All of them, in the order in which they are listed."""
        return (*self.runs, *self.means, *self.published)

    @property
    def note(self) -> str:
        """What is to be said of the published rows, or ""."""
        differs = self.published and self.measured == "P"
        return OF_M if differs else ""

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
    """One for each observable and set of blocks, and for each stage that Tables 4 to 6 have."""
    sets: dict[tuple[str, tuple[str, ...]], list[tuple[str, Vector]]] = {}
    for one in subjects:
        if (found := one.blocks) is not None:
            sets.setdefault((one.measured, found.names), []).append((one.label, found))
    made: list[Comparison] = []
    for (measured, names), runs in sets.items():
        means: list[tuple[str, Vector]] = []
        members: dict[str, tuple[str, ...]] = {}
        for group in groups:
            seeds = group.seeds
            if seeds is None or group.measured != measured or vector(seeds).names != names:
                continue
            label = f"{group.label} (mean of {len(seeds.sigma)} seeds)"
            means.append((label, vector(seeds)))
            members[label] = tuple(one.label for one in group.members)
        title = f"σ of {measured} by run and block"
        beside = _beside(_tables(names, options), title, measured, names, runs)
        made.append(replace(beside, means=tuple(means), members=members))
        made += _stages(measured, names, runs, options)
    return made


def _tables(names: tuple[str, ...], options: Options) -> list[int]:
    """Tables whose rows have these blocks: Table 2 four stages, Table 3 twelve layers."""
    if options.beside != AUTO:
        return [int(number) for number in options.beside if int(number) != 7]
    return [number for number, blocks in _TABLES.items() if set(blocks) == set(names)]


def _beside(
    tables: Sequence[int],
    title: str,
    measured: str,
    names: tuple[str, ...],
    runs: Sequence[tuple[str, Vector]],
) -> Comparison:
    """Runs with those rows of published tables that have as many blocks."""
    order = next((blocks for blocks in _TABLES.values() if set(blocks) == set(names)), names)
    places = [order.index(name) for name in names]
    rows = {
        f"Table {table.number}: {row}": (
            table.vector(row).of([f"σ{place + 1}" for place in places]),
            tuple(table.printed(row)[place] for place in places),
        )
        for table in map(published.table, tables)
        for row, values in table.rows.items()
        if len(values) == len(names)
    }
    vectors = tuple((label, found) for label, (found, _) in rows.items())
    printed = {label: cells for label, (_, cells) in rows.items()}
    return Comparison(title, measured, names, tuple(runs), (), vectors, printed, {})


def _stages(
    measured: str, names: tuple[str, ...], runs: list[tuple[str, Vector]], options: Options
) -> list[Comparison]:
    """The "normal" blocks of each stage (all but its first) beside Tables 4 to 6.

    Those are of ResNets for CIFAR: unless asked for, they stand beside three equal stages alone.
    """
    places = {i: match for i, name in enumerate(names) if (match := _BLOCK.fullmatch(name))}
    stages = Counter(int(match[1]) for match in places.values())
    resnet = sorted(stages) == [*_STAGE_TABLES] and len(set(stages.values())) == 1
    made = []
    for stage, number in _STAGE_TABLES.items():
        keep = [i for i, match in places.items() if int(match[1]) == stage and int(match[2]) > 0]
        keep.sort(key=lambda i: int(places[i][2]))
        wanted = resnet if options.beside == AUTO else number in options.beside
        if not (keep and wanted):
            continue
        normal = tuple(names[i] for i in keep)
        parts = [(label, one.of(normal)) for label, one in runs]
        title = f"σ of {measured} of the normal blocks of stage {stage}, beside Table {number}"
        made.append(_beside([number], title, measured, normal, parts))
    return [one for one in made if one.published]
