"""The texts of a command line as the TOML values that a recipe's keys ask for.

Invariant: a text that is no such value stays a text, so that it is reported with all other faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from impcore.config.recipe import TABLES


def typed(overrides: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """The command line's texts as the TOML values that the keys ask for.

    A text that is no such value stays a text, so that `load` reports it with all other faults.
    "none" takes the value away from a key that may be without one.
    """
    return {
        table: {key: typed_value(property_of(table, key), value) for key, value in keys.items()}
        for table, keys in overrides.items()
    }


def property_of(table: str, key: str) -> dict[str, Any]:
    """The JSON schema of a key."""
    return cast(dict[str, Any], TABLES[table].model_json_schema()["properties"][key])


def typed_value(schema: Mapping[str, Any], value: object) -> object:
    """A text, or a tuple of texts, as the value that a key of this schema asks for."""
    kinds = {kind.get("type"): kind for kind in schema.get("anyOf", [schema])}
    if "null" in kinds and value in ("none", ("none",)):
        return None
    if isinstance(value, tuple):
        items = kinds["array"]["items"]
        return [typed_value(items, item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        if "boolean" in kinds:
            return {"true": True, "false": False}.get(value, value)
        if "integer" in kinds:
            return int(value)
        return float(value) if "number" in kinds else value
    except ValueError:
        return value
