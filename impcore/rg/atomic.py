"""Replace a file whole: whatever interrupts, a reader finds the old bytes or the new ones."""

from __future__ import annotations

import os
from pathlib import Path

from impcore.errors import RunDirectoryError


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, fsync, rename over it, fsync the directory.

    Raises:
        RunDirectoryError: the file cannot be written; the old one is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be written: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable, where directories can be opened (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
