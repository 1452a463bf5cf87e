"""Where a data set's files are, and what to say when they are not there.

Invariant: nothing is read and nothing created; a folder is returned only if all files are in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from impcore.errors import DataError


def find(name: str, root: Path | str | None, folder: str, files: Sequence[str], how: str) -> Path:
    """Return the folder of the data set `name`, root / folder; root None means $IMPCORE_DATA.

    Args:
        name: of the data set, for messages.
        root: as in `impcore.data.load` and `load_text`.
        folder: below the root; "" is the root itself.
        files: names that must exist in the folder, files or folders.
        how: how to get them.

    Raises:
        DataError: no root, or something missing; the message says what, where, and `how`.
    """
    if root is None:
        root = os.environ.get("IMPCORE_DATA") or None
    if root is None:
        what = f"{folder} ({', '.join(files)})" if folder else ", ".join(files)
        raise DataError(
            f"{name}: no folder given for {what}: set `root` in the recipe's [data] table, or "
            f"$IMPCORE_DATA; {how}"
        )
    place = Path(root).expanduser() / folder
    missing = [file for file in files if not (place / file).exists()]
    if missing:
        raise DataError(f"{name}: {', '.join(missing)} missing from {place.absolute()}; {how}")
    return place
