"""Tasks against initialisations: the runs of an experiment, analysed.

Invariant: a comparison is between runs that differ in the one thing compared: initialisations of
one task, or tasks from one initialisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from impcore.rg.checks import Floats
from impcore.rg.report.comparison import Comparison, compare
from impcore.rg.report.subject import Options, Subject
from impcore.rg.tasks import Tasks
from impcore.rg.vectors import Vector

Key = tuple[str, str]  # initialisation, task
PERCENT = ("accuracy", "f1", "exact_match")
"""Metrics that are shown in percent."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The runs of an experiment over tasks, analysed."""

    tasks: Tasks
    subjects: Mapping[Key, Subject]

    @cached_property
    def scores(self) -> dict[Key, tuple[str, Floats]]:
        """The most telling metric of every run that recorded it at all of its states."""
        found = {key: one.run.headline for key, one in self.subjects.items()}
        return {
            key: (name, values)
            for key, (name, values) in found.items()
            if len(values) and np.isfinite(values).all()
        }

    def metric(self, task: str) -> str:
        """The name of a task's metric; "" where none was recorded."""
        names = (name for (_, other), (name, _) in self.scores.items() if other == task)
        return next(names, "")

    def comparisons(self, init: str, options: Options) -> list[Comparison]:
        """σ of the tasks from one initialisation; several where tasks differ in their blocks."""
        rows = [
            replace(one, label=task)
            for (start, task), one in self.subjects.items()
            if start == init
        ]
        made = compare(rows, [], replace(options, beside=()))
        return [replace(one, title=f"σ of {one.measured} from {init} weights") for one in made]

    @property
    def measured(self) -> str:
        """What the tasks' σ are of; "" where there are none. Runs of another observable differ."""
        return next((one.measured for one in self.subjects.values() if one.blocks), "")

    def vectors(self, init: str) -> dict[str, Vector]:
        """Task -> σ from one initialisation, over the blocks that all of these tasks have."""
        found = self._found(init)
        names = common_blocks(found)
        return {task: one.of(names) for task, one in found.items()} if names else {}

    def left_out(self, init: str) -> str:
        """What `vectors` leaves out, in words, or ""."""
        found = self._found(init)
        common = common_blocks(found)
        blocks = [name for name in _blocks(found) if name not in common]
        lacking = [
            f"{name} (no σ in {', '.join(task for task in found if name not in found[task].names)})"
            for name in blocks
        ]
        tasks = [task for task in self.tasks.tasks if task not in found]
        parts = [f"blocks {', '.join(lacking)}"] if lacking else []
        parts += [f"tasks {', '.join(tasks)} (no σ of {self.measured})"] if tasks else []
        return f"From {init} weights without {' and without '.join(parts)}." if parts else ""

    def _found(self, init: str) -> dict[str, Vector]:
        return {
            task: one.blocks
            for (start, task), one in self.subjects.items()
            if start == init and one.blocks is not None and one.measured == self.measured
        }


def _blocks(found: Mapping[str, Vector]) -> tuple[str, ...]:
    """The names of all blocks that any of the vectors has."""
    return tuple(dict.fromkeys(name for one in found.values() for name in one.names))


def common_blocks(found: Mapping[str, Vector]) -> tuple[str, ...]:
    """Those that all of them have."""
    return tuple(
        name for name in _blocks(found) if all(name in one.names for one in found.values())
    )
