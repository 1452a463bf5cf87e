"""Read rounds.jsonl: one checked row for every trained state.

Invariant: rows are consecutive rounds 0, 1, … of one model; a line that is not whole, such as the
last line after a crash, is an error that names file and line, never skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impcore.errors import RunDirectoryError


@dataclass(frozen=True)
class Row:
    """A trained state: its counts, what it achieved, and the mask that it was trained under."""

    round: int
    density: float
    remaining: int
    total: int
    accuracy: float  # on the test set, 0 to 1; NaN where it was not recorded
    loss: float  # NaN where it was not finite, or not recorded
    seconds: float  # NaN where it was not recorded
    mask_hash: str  # "" where it was not recorded
    extra: Mapping[str, Any]  # every other key of the line


_INTEGERS = ("round", "remaining", "total")
_NUMBERS = ("density", "accuracy", "loss", "seconds")
_KEYS = (*_INTEGERS, *_NUMBERS, "mask_hash")


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read every line of `path`.

    Raises:
        RunDirectoryError: the file is missing, or a line is not a row; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path}: missing") from error
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{path}: not UTF-8 text: {error}") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    rows: list[Row] = []
    for index, line in enumerate(lines):
        where = f"{path}:{index + 1}"
        row = _row(where, line)
        _check_sequence(where, row, index, rows)
        rows.append(row)
    return tuple(rows)


def _check_sequence(where: str, row: Row, index: int, earlier: list[Row]) -> None:
    if row.round != index:
        raise RunDirectoryError(f"{where}: round must be {index}, not {row.round}")
    if earlier and row.total != earlier[0].total:
        raise RunDirectoryError(
            f"{where}: total must be {earlier[0].total} as before, not {row.total}"
        )


def _row(where: str, line: str) -> Row:
    try:
        data = json.loads(line, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(
            f"{where}: not a whole JSON object (cut off by a crash?): {error}"
        ) from error
    if not isinstance(data, dict):
        raise RunDirectoryError(f"{where}: must be a JSON object, not {line[:60]!r}")
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise RunDirectoryError(f"{where}: lacks {', '.join(missing)}")
    counts = {key: _integer(where, key, data[key]) for key in _INTEGERS}
    numbers = {key: _number(where, key, data[key]) for key in _NUMBERS}
    mask_hash = data["mask_hash"] if data["mask_hash"] is not None else ""
    if not isinstance(mask_hash, str):
        raise RunDirectoryError(f"{where}: mask_hash must be text, not {data['mask_hash']!r}")
    if not 0 <= counts["remaining"] <= counts["total"] or counts["total"] == 0:
        raise RunDirectoryError(
            f"{where}: remaining must lie in [0, total], not {counts['remaining']} of "
            f"{counts['total']}"
        )
    extra = {key: value for key, value in data.items() if key not in _KEYS}
    return Row(
        round=counts["round"],
        remaining=counts["remaining"],
        total=counts["total"],
        density=numbers["density"],
        accuracy=numbers["accuracy"],
        loss=numbers["loss"],
        seconds=numbers["seconds"],
        mask_hash=mask_hash,
        extra=extra,
    )


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _integer(where: str, key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise RunDirectoryError(f"{where}: {key} must be a 64-bit integer, not {value!r}")
    return value


def _number(where: str, key: str, value: object) -> float:
    """A finite number; a loss may be not finite, since a run may diverge, and what an imported run
    did not record is null."""
    if value is None and key != "density":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RunDirectoryError(f"{where}: {key} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise RunDirectoryError(f"{where}: {key} is too large") from None
    if key == "loss":
        return number
    if key == "seconds":
        if not (math.isfinite(number) and number >= 0):
            raise RunDirectoryError(f"{where}: seconds must be 0 or more, not {number}")
    elif not 0 <= number <= 1:
        raise RunDirectoryError(f"{where}: {key} must lie in [0, 1], not {number}")
    return number
