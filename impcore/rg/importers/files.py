"""Which files of a directory are checkpoints, and in which order.

Invariant: the order is that of the numbers in the names, "round10" after "round9".
"""

from __future__ import annotations

import re
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
