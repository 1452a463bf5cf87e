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
        return [replace(one, title=f"From {init} weights") for one in made]

    def vectors(self, init: str, options: Options) -> dict[str, Vector]:
        """Task -> σ from one initialisation, of the tasks that have the first one's blocks."""
        made = self.comparisons(init, options)
        return dict(made[0].runs) if made else {}
