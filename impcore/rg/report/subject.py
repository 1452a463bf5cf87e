"""What a report is about: runs with their analyses and fits, and which of them are seeds of one.

Invariant: every run is analysed by the same options, and runs that have the same blocks have them
in the order of the first. What could not be analysed or fitted holds the reason in words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from impcore.rg import checks, exponents
from impcore.rg.analysis import Analysis, analyse, unanalysed
from impcore.rg.eigen import Eigen
from impcore.rg.exponents import SeedFits
from impcore.rg.fitted import Fit
from impcore.rg.run import Run
from impcore.rg.seeds import Seeds, over_seeds
from impcore.rg.vectors import REST, Vector, vector

AUTO = "auto"


@dataclass(frozen=True)
class Options:
    """The choices that [R] leaves open, with the defaults that it suggests."""

    estimator: str = "mean_log"
    rounds: slice | Sequence[int] | None = None
    level: float = 0.95
    eps_np: float | str = "free"
    deviation: str = "relative"
    beside: tuple[int, ...] | str = AUTO  # published tables to set beside the runs


@dataclass(frozen=True, eq=False)
class Subject:
    """One run, as the report sees it."""

    label: str  # unique in the report
    group: str  # label of the experiment whose seed it is
    run: Run
    analyses: Mapping[str, Analysis]
    fit: Fit | None
    no_fit: str  # why there is no fit, else ""
    labelled: bool = False  # the group was given, not found from the configs

    @property
    def first(self) -> Analysis:
        """M, or P where the run has no M."""
        return next(iter(self.analyses.values()))

    @property
    def eigen(self) -> Eigen | None:
        """The eigenvalues of the first observable."""
        return self.first.eigen

    @property
    def measured(self) -> str:
        """What these are of: "M", "M of rewound weights" or "P"."""
        rewound = self.first.observable == "M" and self.run.theta == "rewound"
        return f"{self.first.observable} of rewound weights" if rewound else self.first.observable

    @property
    def blocks(self) -> Vector | None:
        """σ of the blocks, without "rest"; None where no block has it."""
        if self.eigen is None or all(name == REST for name in self.eigen.names):
            return None
        return vector(self.eigen)


@dataclass(frozen=True, eq=False)
class Group:
    """The seeds of one experiment. `seeds` is None unless all have σ of the same."""

    label: str
    members: tuple[Subject, ...]
    repeats: Mapping[str, str]  # member that is no seed of its own -> the member that it repeats
    seeds: Seeds | None = None
    fits: SeedFits | None = None

    @property
    def measured(self) -> str:
        """What the mean σ is of."""
        return next(one.measured for one in self.members if one.eigen is not None)

    @property
    def differing(self) -> Mapping[str, str]:
        """Seed -> what it has σ of, where these differ: a block may have collapsed."""
        found = {
            one.label: f"{one.measured} of {', '.join(one.eigen.names)}"
            for one in self.members
            if one.eigen is not None and one.label not in self.repeats
        }
        return found if len(set(found.values())) > 1 else {}


def subjects(runs: Sequence[tuple[str | None, Run]], options: Options) -> list[Subject]:
    """Analyse runs given with the label of their group, or None to find it from their configs."""
    labels = _unique([run.name for _, run in runs])
    groups = _groups(runs, labels)
    made = together([run for _, run in runs], labels, groups, options)
    return [
        replace(one, labelled=given is not None) for one, (given, _) in zip(made, runs, strict=True)
    ]


def together(
    runs: Sequence[Run], labels: Sequence[str], groups: Sequence[str], options: Options
) -> list[Subject]:
    """Analyse runs for one report. Those that lack the rounds in use have no σ, and say why.

    Runs with the same blocks get the order of the first: an import may have it from its files.

    Raises:
        ValueError: an option is wrong; all runs lack the rounds.
    """
    lacking = [_lacking(run, options.rounds) for run in runs]
    if lacking and all(lacking):
        raise ValueError(f"{labels[0]}: {lacking[0]}")
    return [
        subject(run, options, label=label, group=group, lacking=reason)
        for run, label, group, reason in zip(_aligned(runs), labels, groups, lacking, strict=True)
    ]


def _aligned(runs: Sequence[Run]) -> Iterator[Run]:
    """The runs with their blocks in the order of the first that has the same, "rest" or not."""
    orders: dict[frozenset[str], list[str]] = {}
    for run in runs:
        blocks = [name for name in run.names if name != REST]
        order = orders.setdefault(frozenset(blocks), blocks)
        yield run.ordered([*order, REST] if REST in run.names else order)


def subject(
    run: Run, options: Options, *, label: str = "", group: str = "", lacking: str = ""
) -> Subject:
    """Analyse one run, unless it is said to be `lacking` something that this needs."""
    exponents.check_choices(options.eps_np, options.deviation)
    if lacking:
        analyses = unanalysed(run, f"{lacking[0].upper()}{lacking[1:]}.")
    else:
        analyses = analyse(
            run, estimator=options.estimator, rounds=options.rounds, level=options.level
        )
    made, reason = _fit(run, options)
    return Subject(label or run.name, group or run.name, run, analyses, made, reason)


def _lacking(run: Run, rounds: slice | Sequence[int] | None) -> str:
    """Why the run cannot be analysed over these rounds, or ""."""
    try:
        checks.chosen_states(rounds, len(run.remaining))
    except ValueError as error:
        return str(error)
    return ""


def groups(given: Sequence[Subject]) -> list[Group]:
    """Subjects by group, in order; with what their seeds agree on where there are two or more."""
    members: dict[str, list[Subject]] = {}
    for one in given:
        members.setdefault(one.group, []).append(one)
    return [_group(label, tuple(some)) for label, some in members.items()]


def _group(label: str, members: tuple[Subject, ...]) -> Group:
    repeats = _repeats(members)
    seeds = [one for one in members if one.label not in repeats]
    eigens = [one.eigen for one in seeds if one.eigen is not None]
    of = {(one.measured, one.eigen.names) for one in seeds if one.eigen is not None}
    fits = [one.fit for one in seeds if one.fit is not None]
    alike = len(of) == 1 and len(eigens) > 1
    return Group(
        label,
        members,
        repeats,
        over_seeds(eigens) if alike else None,
        exponents.over_seeds(fits) if len(fits) > 1 else None,
    )


def _repeats(members: Sequence[Subject]) -> dict[str, str]:
    """Label -> label of the run that it repeats. Of runs that are alike one with σ is kept."""
    kept: list[Subject] = []
    repeats: dict[str, str] = {}
    for one in sorted(members, key=lambda one: one.eigen is None):
        same = next((other for other in kept if _is_repeat(one, other)), None)
        if same is None:
            kept.append(one)
        else:
            repeats[one.label] = same.label
    return repeats


def _is_repeat(one: Subject, other: Subject) -> bool:
    """Whether two runs of an experiment have the same flow, or, where no label says that they are
    different seeds, the same run.seed."""
    seed = _seed(one.run)
    if not one.labelled and seed is not None and seed == _seed(other.run):
        return True
    flow, others = (next(iter(some.run.observables.values())) for some in (one, other))
    same = np.array_equal(one.run.remaining, other.run.remaining) and np.array_equal(flow, others)
    return same and len(flow) > 1


def _seed(run: Run) -> object:
    table = run.config.get("run")
    return table.get("seed") if isinstance(table, dict) else None


def _fit(run: Run, options: Options) -> tuple[Fit | None, str]:
    accuracy = run.accuracy
    known = np.isfinite(accuracy)
    if not known.any():
        return None, "The run has no accuracies."
    free = 3 if options.eps_np != "free" else 4
    if known.sum() < free + 2:  # at least two degrees of freedom: one tells little of the scatter
        return None, f"A fit of eq. 15 needs {free + 2} states, the run has {known.sum()}."
    error = 1 - accuracy[known]
    if not (error > 0).all():
        return None, "The error is 0 at some density, which eq. 15 never is."
    if math.isclose(float(error.min()), float(error.max())):
        return None, "The error is the same at every density: there is nothing to fit."
    try:
        made = exponents.fit(
            run.density[known],
            error,
            eps_np=options.eps_np,  # type: ignore[arg-type]
            deviation=options.deviation,
            level=options.level,
        )
    except ValueError as failure:
        return None, f"Eq. 15: {failure}."
    return made, ""


def _unique(names: Sequence[str]) -> list[str]:
    """The names, numbered where they repeat."""
    made: list[str] = []
    for name in names:
        label, number = name, 1
        while label in made:
            number += 1
            label = f"{name} ({number})"
        made.append(label)
    return made


def _groups(runs: Sequence[tuple[str | None, Run]], labels: Sequence[str]) -> list[str]:
    """Group labels: those given; else runs whose configs differ in [run] alone are seeds of one."""
    keys: list[object] = []
    for number, (given, run) in enumerate(runs):
        config = {key: value for key, value in run.config.items() if key != "run"}
        keys.append(given if given is not None else repr(config) if config else number)
    made: list[str] = []
    for (given, _), key in zip(runs, keys, strict=True):
        same = [label for label, other in zip(labels, keys, strict=True) if other == key]
        made.append(given if given is not None else _common(same))
    return made


def _common(labels: Sequence[str]) -> str:
    """What the labels of one experiment's seeds have in common."""
    if len(labels) == 1:
        return labels[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    stem = "".join(letters[0] for letters in alike)
    return re.sub(r"(^|[-_/. (]+)(seed|replicate|run|s|r)?[-_/. (]*$", "", stem) or labels[0]
