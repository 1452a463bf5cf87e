"""A whole recipe: all its tables, checked together, written back, compared.

Invariant: a `Config` that was validated, by `from_dict` or by pydantic, keeps every rule between
its keys, and what `Config.to_toml` writes loads back as an equal one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from impcore.config.faults import ABSENT, MAX_FAULTS, Fault, faults_of, unknown_key
from impcore.config.rules import broken_rules
from impcore.config.schedule import Schedule, schedule
from impcore.config.sub_runs import (
    FOLDER,
    PRETRAIN,
    WEIGHTS,
    broken_tasks,
    documents,
    needs_folder,
)
from impcore.config.tables import Analysis, Data, Model, Prune, Rewind, Run, Table, Tasks, Train
from impcore.errors import ConfigError
from impcore.pretrained import is_hub_name

_NO_RESULT_DEPENDS_ON = {
    "run.name",
    "run.out",
    "run.tensorboard",
    "data.root",
    "data.cache",
    "train.checkpoint_every",
    "prune.min_keep",
}
_PLACES = ("model.path", "data.tokenizer")
"""Keys that name a folder or file, or a model on the hub."""
TABLES: dict[str, type[Table]] = {
    "run": Run,
    "model": Model,
    "data": Data,
    "train": Train,
    "prune": Prune,
    "rewind": Rewind,
    "analysis": Analysis,
}
"""The tables that every recipe has."""
OF_EXPERIMENTS: dict[str, type[Table]] = {"tasks": Tasks}
"""The one table of its own that an experiment may have, under the experiment's name."""
_KNOWN = TABLES | OF_EXPERIMENTS


class Config(Table):
    """A resolved recipe: one frozen model a table, every default filled in."""

    run: Run
    model: Model
    data: Data
    train: Train
    prune: Prune
    rewind: Rewind
    analysis: Analysis
    tasks: Tasks | None = None

    @model_validator(mode="after")
    def _rules(self) -> Config:
        tables = self._tables()
        faults = _unpaired(tables, self.run) + _faults(tables)
        if faults:
            raise ValueError("\n".join(map(str, faults)))
        return self

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> Config:
        """The config of a parsed TOML document; ConfigError lists every fault, a line each."""
        given = {name for name in OF_EXPERIMENTS if raw.get(name) is not None}
        unknown = [key for key in raw if key not in _KNOWN][:MAX_FAULTS]
        faults = [Fault(key, raw[key], unknown_key(key, _KNOWN)) for key in unknown]
        tables: dict[str, Table] = {}
        for name, model in _KNOWN.items():
            if name in OF_EXPERIMENTS and name not in given:
                continue
            try:
                tables[name] = model.model_validate(raw.get(name, {}))
            except ValidationError as error:
                faults += faults_of(name, error, _KNOWN)
        faults += _unpaired(given, tables.get("run"))
        faults += _faults(tables, complete=not faults)
        if faults:
            raise ConfigError("\n".join(map(str, faults[:MAX_FAULTS])))
        return cls.model_validate(tables)

    def sub_runs(self) -> dict[str, Config]:
        """Name -> config of every run that the experiment "tasks" is made of, in their order."""
        made = documents(self._tables())
        return {name: Config.from_dict(document) for name, document in made.items()}

    def stand_in(self, whole: Config) -> Config:
        """This run of `whole` before its pre-training: from the weights that it starts from.

        The run itself, unless it starts from what the pre-training will leave.
        """
        out = Path(whole.run.out)
        if self.model.path not in (str(out / WEIGHTS), str(out / FOLDER)):
            return self
        document = self.model_dump(exclude_none=True)
        document["model"]["path"] = whole.sub_runs()[PRETRAIN].model.path
        if document["model"]["path"] is None and self.rewind.to == "pretrained":
            document["rewind"]["to"] = "init"  # the same step
        return Config.from_dict(document)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """All lengths in optimiser steps; ConfigError if they do not fit each other."""
        return schedule(self, steps_per_epoch)

    def to_toml(self) -> str:
        """Every key with its resolved value; one without a value is left out (TOML has no null)."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def portable(self) -> str:
        """`to_toml` without what only one machine knows: names, places, checkpoints.

        Of a file or folder its last part is kept; the name of a model on the hub is kept whole.
        """
        document = self.model_dump(exclude_none=True)
        for key in _NO_RESULT_DEPENDS_ON:
            table, _, name = key.partition(".")
            document[table].pop(name, None)
        for key in _PLACES:
            table, _, name = key.partition(".")
            place = document[table].get(name)
            if place is not None and not self._on_the_hub(key, place):
                document[table][name] = _last_part(place)
        return tomli_w.dumps(document)

    def _on_the_hub(self, key: str, place: str) -> bool:
        """Whether `place` names a model there; weights of sizes that are given are a file."""
        may_be = key != "model.path" or needs_folder(self.model.model_dump())
        return may_be and is_hub_name(place)

    def flat(self) -> dict[str, Any]:
        """Dotted key to value, in the order of the tables; None where a key has no value."""
        return {
            f"{table}.{key}": value
            for table, keys in self.model_dump().items()
            if keys is not None
            for key, value in keys.items()
        }

    def _tables(self) -> dict[str, Table]:
        return {name: getattr(self, name) for name in _KNOWN if getattr(self, name) is not None}

    def _decisive(self) -> dict[str, str]:
        values = self.flat()
        if values["model.path"] is not None:
            values["model.path"] = "given"  # a place; what lies there is compared by its content
        if values["data.tokenizer"] is not None:
            values["data.tokenizer"] = _last_part(values["data.tokenizer"])
        return {
            key: json.dumps(value)
            for key, value in values.items()
            if key not in _NO_RESULT_DEPENDS_ON
        }

    def fingerprint(self) -> str:
        """SHA-256 (hex) of every key that can change a result: no names, places, checkpoints."""
        return hashlib.sha256(json.dumps(self._decisive(), sort_keys=True).encode()).hexdigest()

    def diff(self, other: Config) -> list[str]:
        """`key: here -> there` for each key that `fingerprint` covers and in which they differ."""
        mine, theirs = self._decisive(), other._decisive()
        keys = dict.fromkeys((*mine, *theirs))
        pairs = ((key, mine.get(key), theirs.get(key)) for key in keys)
        return [f"{key}: {here} -> {there}" for key, here, there in pairs if here != there]


def _last_part(place: str) -> str:
    """The name of a file or folder, of "." too."""
    return os.path.basename(os.path.abspath(place)) or place


def _faults(tables: Mapping[str, Table], complete: bool = True) -> list[Fault]:
    """The faults between tables; with `complete`, those of the runs that an experiment makes too.

    The latter are looked for where there are no others, of which they would be echoes.
    """
    faults = broken_rules(tables)
    tasks = tables.get("tasks")
    if isinstance(tasks, Tasks) and isinstance(tables.get("model"), Model):
        faults += broken_tasks(tasks, tables["model"].model_dump())
    if complete and not faults and isinstance(tasks, Tasks):
        faults += _of_sub_runs(tables)
    return faults


def _unpaired(given: Container[str], run: Table | None) -> list[Fault]:
    """An experiment's own table without the experiment, or the experiment without its table."""
    faults: list[Fault] = []
    if not isinstance(run, Run):
        return faults
    for name in OF_EXPERIMENTS:
        if name in given and run.experiment != name:
            faults.append(Fault(name, ABSENT, f'needs run.experiment = "{name}"'))
        if name not in given and run.experiment == name:
            needed = f'missing, and run.experiment = "{name}" needs it'
            faults.append(Fault(name, ABSENT, needed))
    return faults


def _of_sub_runs(tables: Mapping[str, Table]) -> list[Fault]:
    """A fault of several runs is told once, of the first."""
    found: dict[str, str] = {}
    for name, document in documents(tables).items():
        try:
            Config.from_dict(document)
        except ConfigError as error:
            for line in str(error).splitlines():
                found.setdefault(line, name)
    return [Fault(f"in run {name!r}", ABSENT, line) for line, name in found.items()]
