"""Overrides of the entries of [tasks], whose names only a recipe knows.

    --tasks.task.NAME.TABLE.KEY VALUE    --tasks.init.NAME.TABLE.KEY VALUE
    --tasks.pretrain.TABLE.KEY VALUE     --tasks.about TEXT

Invariant: an entry's key takes the values that the same key takes in a table of the whole recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from impcore.config.faults import ABSENT, Fault, suggestion, unknown_key
from impcore.config.recipe import TABLES
from impcore.config.tables.tasks import PRETRAINED, RANDOM
from impcore.config.values import property_of, typed_value
from impcore.errors import ConfigError

_PREFIX = "--tasks."
_NAMED = ("task", "init")
_SHAPES = (
    "--tasks.task.NAME.TABLE.KEY, --tasks.init.NAME.TABLE.KEY, --tasks.pretrain.TABLE.KEY or "
    "--tasks.about"
)


def split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The words of a command line that set no entry, and the part of [tasks] that the others are.

    Raises:
        ConfigError: an option is none of the above, or has no value.
    """
    rest: list[str] = []
    part: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith(_PREFIX):
            rest.append(word)
            continue
        name, given, value = word.partition("=")
        place, schema = _key(name)
        texts = [value] if given else _values(left, many="array" in _types(schema))
        if not texts:
            raise ConfigError(f"{name}: has no value")
        _set(part, place, _typed(name, schema, texts))
    return rest, part


def _values(left: list[str], *, many: bool) -> list[str]:
    """The words that follow an option, taken off `left`."""
    texts: list[str] = []
    while left and not left[0].startswith("--") and (many or not texts):
        texts.append(left.pop(0))
    return texts


def _key(name: str) -> tuple[list[str], Mapping[str, Any]]:
    """Where in [tasks] an option's value belongs, and the schema of its key."""
    kind, *parts = name.removeprefix(_PREFIX).split(".")
    if kind == "about" and not parts:
        return [kind], {"type": "string"}
    if kind not in (*_NAMED, "pretrain") or len(parts) < 2 + (kind in _NAMED):
        raise ConfigError(f"{name}: no such option; there are {_SHAPES}")
    *entry, table, key = parts
    key = key.replace("-", "_")
    if table not in TABLES or key not in TABLES[table].model_fields:
        message = unknown_key(f"{table}.{key}", TABLES)
        raise ConfigError(f"{name}: {message}")
    place = [kind, ".".join(entry), table, key] if kind in _NAMED else [kind, table, key]
    return place, property_of(table, key)


def _types(schema: Mapping[str, Any]) -> set[Any]:
    return {kind.get("type") for kind in schema.get("anyOf", [schema])}


def _typed(name: str, schema: Mapping[str, Any], texts: list[str]) -> object:
    value = typed_value(schema, tuple(texts) if "array" in _types(schema) else texts[0])
    if value is None:
        raise ConfigError(f"{name} = none: an entry cannot take a value away; set one")
    return value


def _set(part: dict[str, Any], place: list[str], value: object) -> None:
    for name in place[:-1]:
        part = part.setdefault(name, {})
    part[place[-1]] = value


def put_over(tasks: object, part: Mapping[str, Any]) -> list[Fault]:
    """Put what `split` found over a recipe's [tasks], in place; faults of entries it lacks."""
    if not isinstance(tasks, dict):
        return [Fault("tasks", ABSENT, "the recipe has no such table, whose entries could be set")]
    if "init" in part:
        tasks.setdefault("init", {RANDOM: {}, PRETRAINED: {}})
    faults = []
    for kind in part:
        if kind == "pretrain" and kind not in tasks:
            faults.append(Fault("tasks.pretrain", ABSENT, "the recipe has none"))
        known = tasks.get(kind)
        if kind in _NAMED and isinstance(known, dict):
            for name in (name for name in part[kind] if name not in known):
                hint = f"the recipe has no such entry{suggestion(name, known)}"
                faults.append(Fault(f"tasks.{kind}.{name}", ABSENT, hint))
    if not faults:
        _merge(tasks, part)
    return faults


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        below = into.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            _merge(below, value)
        else:
            into[key] = value
