"""A whole recipe: all its tables, checked together, written back, compared.

Invariant: a `Config` that was validated, by `from_dict` or by pydantic, keeps every rule between
its keys, and what `Config.to_toml` writes loads back as an equal one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from impcore.config.faults import MAX_FAULTS, Fault, faults_of, unknown_key
from impcore.config.rules import broken_rules
from impcore.config.schedule import Schedule, schedule
from impcore.config.tables import Analysis, Data, Model, Prune, Rewind, Run, Table, Train
from impcore.errors import ConfigError

_NO_RESULT_DEPENDS_ON = {"run.name", "run.out", "data.root", "train.checkpoint_every"}
TABLES: dict[str, type[Table]] = {
    "run": Run,
    "model": Model,
    "data": Data,
    "train": Train,
    "prune": Prune,
    "rewind": Rewind,
    "analysis": Analysis,
}


class Config(Table):
    """A resolved recipe: one frozen model a table, every default filled in."""

    run: Run
    model: Model
    data: Data
    train: Train
    prune: Prune
    rewind: Rewind
    analysis: Analysis

    @model_validator(mode="after")
    def _rules(self) -> Config:
        faults = broken_rules({name: getattr(self, name) for name in TABLES})
        if faults:
            raise ValueError("\n".join(map(str, faults)))
        return self

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> Config:
        """The config of a parsed TOML document; ConfigError lists every fault, a line each."""
        unknown = [key for key in raw if key not in TABLES][:MAX_FAULTS]
        faults = [Fault(key, raw[key], unknown_key(key, TABLES)) for key in unknown]
        tables: dict[str, Table] = {}
        for name, model in TABLES.items():
            try:
                tables[name] = model.model_validate(raw.get(name, {}))
            except ValidationError as error:
                faults += faults_of(name, error, TABLES)
        faults += broken_rules(tables)
        if faults:
            raise ConfigError("\n".join(map(str, faults[:MAX_FAULTS])))
        return cls.model_validate(tables)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """All lengths in optimiser steps; ConfigError if they do not fit each other."""
        return schedule(self, steps_per_epoch)

    def to_toml(self) -> str:
        """Every key with its resolved value; one without a value is left out (TOML has no null)."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def flat(self) -> dict[str, Any]:
        """Dotted key to value, in the order of the tables; None where a key has no value."""
        return {
            f"{table}.{key}": value
            for table, keys in self.model_dump().items()
            for key, value in keys.items()
        }

    def _decisive(self) -> dict[str, str]:
        return {
            key: json.dumps(value)
            for key, value in self.flat().items()
            if key not in _NO_RESULT_DEPENDS_ON
        }

    def fingerprint(self) -> str:
        """SHA-256 (hex) of every key that can change a result: no names, places, checkpoints."""
        return hashlib.sha256(json.dumps(self._decisive(), sort_keys=True).encode()).hexdigest()

    def diff(self, other: Config) -> list[str]:
        """`key: here -> there` for each key that `fingerprint` covers and in which they differ."""
        mine, theirs = self._decisive(), other._decisive()
        return [f"{key}: {mine[key]} -> {theirs[key]}" for key in mine if mine[key] != theirs[key]]
