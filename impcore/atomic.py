"""Writing a file so that a reader, a crash or a power cut sees the old content or the new, whole.

Invariant: the target is replaced only by a rename of a complete, synced temporary file, and the
directory is synced after it. Whatever fails before the rename (disk full, I/O error, short write)
is raised, the temporary file is removed, and the old content stays.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from impcore.errors import RunDirectoryError

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


def temporary_of(path: Path) -> Path:
    """The temporary file that `write` uses for `path`: hidden, and beside it."""
    return path.with_name(f".{path.name}.tmp")


def write(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Replace the content of `path` by `data` (bytes, or pieces in order), durably.

    There must be one writer at a time (a run directory's lock sees to it). Raises
    RunDirectoryError, naming the file and the cause; `path` then still holds what it held before,
    or, where only the directory could not be synced, the new content, as the error says.
    """
    temporary = temporary_of(path)
    pieces = (data,) if isinstance(data, bytes) else data
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        _write_synced(temporary, pieces)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):  # the pieces could not be made
            raise
        kept = "; what it held before is unchanged" if os.path.lexists(path) else ""
        raise RunDirectoryError(
            f"{path}: could not be written ({error.strerror or error}){kept}"
        ) from error
    try:
        sync_directory(path.parent)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: written, but its directory could not be synced ({error.strerror or error}): "
            "a power cut might bring back what it held before"
        ) from error


def _write_synced(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                written = os.write(descriptor, rest)
                if written <= 0:
                    raise OSError(f"short write: {len(rest)} bytes were not taken")
                rest = rest[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make the directory `path`, and those above it, durably; nothing if it is there.

    Raises RunDirectoryError, naming the directory and the cause.
    """
    try:
        make_synced(path)
    except OSError as error:
        raise RunDirectoryError(f"{path}: could not be made ({error.strerror or error})") from error


def make_synced(path: Path) -> None:
    """As `make_directory`, but an OSError is raised as it is."""
    if path.is_dir():
        return
    above = takewhile(lambda parent: not parent.exists(), path.parents)
    for missing in reversed([path, *above]):
        missing.mkdir(exist_ok=True)
        sync_directory(missing.parent)


def sync_directory(path: Path) -> None:
    """Make what was made, renamed and removed in the directory `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(directory: Path) -> None:
    """Remove what a crash left half-written in `directory` (not in its subdirectories)."""
    for left in directory.glob(".*.tmp"):
        left.unlink(missing_ok=True)
