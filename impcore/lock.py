"""A file that one process at a time holds, by the kernel's lock (flock).

Invariant: a lock ends with its process, however that ends, so there is no stale lock and no process
id to misread. The file stays; one that is a symbolic link is refused.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


def claim(path: Path) -> int | None:
    """Take the lock until the descriptor that is returned is closed; None if another has it.

    Raises:
        OSError: the file cannot be made or opened, or its file system has no locks.
    """
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on some network file systems
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock within; waits for whoever has it. Raises OSError as `claim`."""
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
