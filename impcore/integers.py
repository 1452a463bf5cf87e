"""Integers as users give them: Python's, NumPy's, whatever else `operator.index` takes.

Invariant: what is accepted comes out as an int; a bool and a float never are.
"""

from __future__ import annotations

import operator
from typing import Any


def is_bool(value: Any) -> bool:
    """Whether the value is a bool: Python's, NumPy's, or an array or tensor of them."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def integer(value: Any, least: int | None = None) -> int | None:
    """The value as an int; None if it is no integer, or is below `least`."""
    if is_bool(value):
        return None
    try:
        found = operator.index(value)
    except TypeError:
        return None
    return found if least is None or found >= least else None


def checked(field: str, value: Any, least: int | None = None) -> int:
    """The value as an int; raises ValueError, naming the field, where `integer` gives None."""
    found = integer(value, least)
    if found is None:
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{field}: {value!r} is not an integer{bound}")
    return found
