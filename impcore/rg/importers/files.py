"""Which files of a directory are checkpoints, in which order, and the numbers recorded in them.

Invariant: the order is that of the numbers in the names, "round10" after "round9"; what is no
number where one is recorded is a CheckpointError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from impcore.errors import CheckpointError
from impcore.tensor_files import SUFFIXES


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sorting key under which "round10" comes after "round9"."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def checkpoint_files(directory: Path, pattern: str | None) -> list[Path]:
    """Checkpoints of `directory` in natural order: by glob `pattern`, else by known suffixes.

    Raises:
        CheckpointError: there are fewer than two, and so no flow.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: not a directory")
    found = directory.glob(pattern) if pattern else directory.iterdir()
    files = [path for path in found if path.is_file() and (pattern or path.suffix in SUFFIXES)]
    if len(files) < 2:
        what = repr(pattern) if pattern else ", ".join(SUFFIXES)
        raise CheckpointError(f"{directory}: a flow needs 2 checkpoints or more ({what})")
    return sorted(files, key=natural)


def as_number(where: str, value: object) -> float:
    """A recorded number, which may be a tensor of one element.

    Raises:
        CheckpointError: it is none; names `where`.
    """
    item = getattr(value, "item", None)
    try:
        found = value if item is None else item()
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
    except (ValueError, RuntimeError, OverflowError):  # several elements; beyond float64
        pass
    raise CheckpointError(f"{where} must be a number, not {str(value)[:60]}")


def last(where: str, values: object) -> float | None:
    """The last of a list of recorded numbers; None where there is no list or nothing in it.

    Raises:
        CheckpointError: it is no list, or no list of numbers.
    """
    if values is None:
        return None
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise CheckpointError(f"{where} must be a list of numbers, not a {type(values).__name__}")
    return as_number(f"{where}, its last entry,", values[-1]) if values else None
