"""What is wrong with a recipe, one line a fault: dotted key, value, what would be right.

Invariant: a value of any size or depth is quoted in at most a hundred characters; a file's path is
whole.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from impcore.nearest import closest

MAX_FAULTS = 50
"""As many are reported at once: a file of nothing but faults must not take minutes to refuse."""


class _Absent:
    def __repr__(self) -> str:
        return ""


ABSENT = _Absent()


class Fault(NamedTuple):
    """One fault: the dotted key, its value (ABSENT if it has none), and what would be right."""

    key: str
    value: object
    message: str

    def __str__(self) -> str:
        quoted = "" if self.value is ABSENT else f" = {quote(self.value)}"
        return f"{quote_key(self.key)}{quoted}: {self.message}"


def quote(value: object) -> str:
    """`value` as TOML would show it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    try:
        return short.repr(list(value) if isinstance(value, tuple) else value)[:100]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a huge integer"


def quote_key(key: str) -> str:
    """A dotted key on one line: shortened, control characters escaped."""
    return _on_one_line(key if len(key) <= 80 else key[:77] + "...")


def quote_path(path: Path) -> str:
    """A path on one line, whole: who is to mend the file must find it."""
    return _on_one_line(str(path))


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def suggestion(name: str, valid: Iterable[str]) -> str:
    """`; nearest: X` for the closest of `valid`, else all of them."""
    names = list(valid)
    found = closest(name, names)
    return f"; valid: {', '.join(names)}" if found is None else f"; nearest: {found}"


def unknown_key(key: str, tables: Mapping[str, type[BaseModel]]) -> str:
    """Message for a key that no table has: the nearest in its table, else the same in another."""
    table, _, name = key.partition(".")
    if not name:
        return "no such table" + suggestion(table, tables)
    if table not in tables:
        near = suggestion(table, tables).removeprefix("; ")
        return f"no such table as [{quote_key(table)}]; {near}"
    elsewhere = [f"{t}.{name}" for t, model in tables.items() if name in model.model_fields]
    if elsewhere:
        return f"no such key; nearest: {elsewhere[0]}"
    close = suggestion(name, tables[table].model_fields)
    return "no such key" + close.replace("nearest: ", f"nearest: {table}.")


def faults_of(
    table: str, error: ValidationError, tables: Mapping[str, type[BaseModel]]
) -> list[Fault]:
    """The faults that pydantic found in one table, in its order."""
    details = error.errors(include_url=False)[:MAX_FAULTS]
    return [_fault(table, detail, tables) for detail in details]


def _fault(table: str, detail: ErrorDetails, tables: Mapping[str, type[BaseModel]]) -> Fault:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    key = table + "".join(parts)
    value: Any = detail["input"]
    match detail["type"]:
        case "missing":
            return Fault(key, ABSENT, "missing, and it has no default")
        case "extra_forbidden":
            return Fault(key, value, unknown_key(key, tables))
        case "model_type" | "model_attributes_type":
            return Fault(key, value, f"should be a table: [{table}]")
        case "dict_type":
            return Fault(key, value, "should be a table")
        case "tuple_type":
            return Fault(key, value, "should be a list")
        case "bool_type" | "bool_parsing":
            return Fault(key, value, "should be true or false")
        case "too_short" | "too_long" as bound:
            least = bound == "too_short"
            count = detail["ctx"]["min_length" if least else "max_length"]
            return Fault(
                key, value, f"should have at {'least' if least else 'most'} {count} entries"
            )
        case "literal_error":
            expected = detail["ctx"]["expected"]
            names = expected.replace("' or '", "', '").strip("'").split("', '")
            close = suggestion(value, names) if isinstance(value, str) and len(names) > 1 else ""
            return Fault(key, value, f"should be {expected}{close if 'nearest' in close else ''}")
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    return Fault(key, value, message[:1].lower() + message[1:])
