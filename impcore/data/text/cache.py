"""Tokens that have been made once are read from a file the next time.

Invariant: a file's name is the hash of all that its content is made from, and the file carries the
hash of that content: a stale or damaged one is never used, whoever wrote it, and readers see a
whole file or none. One process makes a file at a time; the others wait for it. A file that is there
is read without a lock, from a read-only folder too. Within `unwritten` none is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from impcore import atomic, lock
from impcore.data.text.encode import Arrays
from impcore.errors import DataError, RunDirectoryError

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
_VERSION = 2
_writes = ContextVar("writes", default=True)


@contextmanager
def unwritten() -> Iterator[None]:
    """Within it, tokens that no file holds are made and kept in memory alone."""
    token = _writes.set(False)
    try:
        yield
    finally:
        _writes.reset(token)


def directory() -> Path:
    """$IMPCORE_CACHE, or impcore in $XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("IMPCORE_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "impcore"


def arrays(key: Mapping[str, Any], make: Callable[[], Arrays]) -> dict[str, Tensor]:
    """The arrays that `make` returns, as tensors over a memory map of their file.

    `key` (JSON) must name everything that they depend on. Raises DataError if the cache cannot be
    written; within `unwritten` nothing is.
    """
    from torch import from_numpy

    name = hashlib.sha256(json.dumps([_VERSION, dict(key)], sort_keys=True).encode()).hexdigest()
    folder = directory() / "tokens"
    path = folder / f"{name}.safetensors"
    try:
        found = _read(path)
        if found is not None:
            return found
        if not _writes.get():
            return {name: from_numpy(array) for name, array in make().items()}
        folder.mkdir(parents=True, exist_ok=True)
        with lock.held(path.with_suffix(".lock")):
            found = _read(path, logging.DEBUG)  # another process may have made it meanwhile
            if found is None:
                _write(path, make())
                found = _read(path)
    except (OSError, RunDirectoryError) as error:
        raise DataError(
            f"{folder}: the cache of tokens cannot be used: "
            f"{getattr(error, 'strerror', None) or error}; "
            "$IMPCORE_CACHE can name another place"
        ) from error
    assert found is not None
    return found


def _write(path: Path, made: Arrays) -> None:
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(made[name]) for name in sorted(made)}
    digest = hashlib.sha256()
    for name, array in plain.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    atomic.write(path, save(plain, {"sha256": digest.hexdigest()}))


def _read(path: Path, level: int = logging.WARNING) -> dict[str, Tensor] | None:
    """What the file holds, or None if it is not there or, which is logged at `level`, damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    digest = hashlib.sha256()
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in sorted(file.keys())}
            sealed = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        _log.log(level, "%s: damaged (%s); it is made again", path, error)
        return None
    for name, tensor in found.items():
        array = tensor.numpy()
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    if digest.hexdigest() != sealed:
        why = "its content is not what was written"
        _log.log(level, "%s: damaged (%s); it is made again", path, why)
        return None
    return found
