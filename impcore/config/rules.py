"""What the keys of a recipe demand of each other.

Invariant: a rule looks only at tables that are valid in themselves, so that every fault of a recipe
is reported once, and all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import get_args

from impcore.config.faults import Fault
from impcore.config.length import Length
from impcore.config.rules_text import text_rules
from impcore.config.tables import Data, Model, Prune, Rewind, Table, Train
from impcore.config.tables.base import Choosing
from impcore.config.tables.data import FolderName
from impcore.config.tables.model import CifarArch


def broken_rules(tables: Mapping[str, Table]) -> list[Fault]:
    """The faults between the keys of the tables that are there."""
    faults: list[Fault] = []
    model, train = tables.get("model"), tables.get("train")
    data, prune, rewind = tables.get("data"), tables.get("prune"), tables.get("rewind")
    if isinstance(model, Model):
        faults += _model(model)
    if isinstance(data, Data):
        faults += _data(data)
    faults += text_rules(tables)
    if isinstance(train, Train):
        faults += _train(train)
    if isinstance(prune, Prune):
        faults += _prune(prune)
    if isinstance(rewind, Rewind):
        faults += _rewind(rewind, tables)
    return faults


def _below(key: str, length: Length, total: Length) -> Iterator[Fault]:
    fraction = length.fraction_of(total)
    if fraction is not None and fraction >= 1:
        yield Fault(key, length, f"should be below train.length = {total!r}")


def _model(model: Model) -> Iterator[Fault]:
    if model.stem != "cifar" and model.arch in get_args(CifarArch):
        yield Fault("model.stem", model.stem, f'should be "cifar", the only one of {model.arch}')


def _data(data: Data) -> Iterator[Fault]:
    yield from _unused("data", data)
    valid: tuple[str, ...] = ("none", "crop", "flip_crop")
    if data.name in get_args(FolderName):
        valid = ("none", "resized_crop")
    elif data.is_text:
        valid = ("none",)
    if data.augment not in valid:
        yield Fault("data.augment", data.augment, f"should be {' or '.join(valid)} of {data.name}")


def _unused(name: str, table: Choosing) -> Iterator[Fault]:
    """Faults of keys that have a value, and that what is chosen does not take."""
    for key, choices in table.OPTIONS.items():
        taken = choices[getattr(table, key)]
        for option in sorted({option for options in choices.values() for option in options}):
            value = getattr(table, option)
            if value is not None and option not in taken:
                takers = [f'"{chosen}"' for chosen, options in choices.items() if option in options]
                yield Fault(
                    f"{name}.{option}", value, f"needs {name}.{key} = {' or '.join(takers)}"
                )


def _train(train: Train) -> Iterator[Fault]:
    yield from _unused("train", train)
    milestones = train.milestones or ()
    for milestone in milestones:
        yield from _below("train.milestones", milestone, train.length)
    for before, after in pairwise(milestones):
        first, second = before.fraction_of(train.length), after.fraction_of(train.length)
        if first is not None and second is not None and first >= second:
            yield Fault("train.milestones", milestones, f"{after!r} should be after {before!r}")
    if train.warmup is not None:
        yield from _below("train.warmup", train.warmup, train.length)
    if train.nesterov and train.momentum == 0:
        yield Fault("train.nesterov", True, "needs train.momentum above 0")


def _prune(prune: Prune) -> Iterator[Fault]:
    yield from _unused("prune", prune)
    if prune.theta == "rewound" and prune.score == "movement":
        yield Fault("prune.theta", prune.theta, 'should be "trained": movement is of a training')
    if prune.schedule == "explicit":
        if len(prune.densities) != prune.rounds:
            found = f"{len(prune.densities)} densities"
            yield Fault("prune.rounds", prune.rounds, f"should be the number of densities: {found}")
        for before, after in pairwise(prune.densities):
            if after >= before:
                yield Fault("prune.densities", prune.densities, f"{after} should be below {before}")
        return
    if prune.densities:
        yield Fault("prune.densities", prune.densities, 'needs prune.schedule = "explicit"')
    if prune.rounds and prune.rate == 0:
        yield Fault("prune.rate", prune.rate, "should be above 0, as prune.rounds is")
    if prune.schedule == "linear" and prune.rounds * Fraction(repr(prune.rate)) >= 1:
        total = f"prune.rounds = {prune.rounds} of them prune everything"
        yield Fault("prune.rate", prune.rate, f"should be below {1 / prune.rounds:.6g}: {total}")


def _rewind(rewind: Rewind, tables: Mapping[str, Table]) -> Iterator[Fault]:
    train, model = tables.get("train"), tables.get("model")
    if isinstance(train, Train):
        yield from _below("rewind.to", rewind.to, train.length)
    bare = isinstance(model, Model) and model.path is None and "tasks" not in tables
    if rewind.to == "pretrained" and bare:
        yield Fault("rewind.to", rewind.to, "needs model.path, the weights to start from")
    prune = tables.get("prune")
    if isinstance(prune, Prune) and prune.theta == "rewound" and rewind.kind != "weights":
        yield Fault("prune.theta", prune.theta, 'needs rewind.kind = "weights"')
    if rewind.head != "reset" and rewind.kind != "weights":
        yield Fault("rewind.head", rewind.head, 'needs rewind.kind = "weights"')
    if rewind.length is not None and rewind.kind != "finetune":
        yield Fault("rewind.length", rewind.length, 'needs rewind.kind = "finetune"')
