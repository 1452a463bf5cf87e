"""The host's memory in bytes, as the system tells it; None where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
"""Of a container: what version 2 of control groups tells within it."""


def total() -> int | None:
    """What the machine, or the container, has."""
    limits = [_told(_SYSTEM, "MemTotal:"), _limit()]
    return min((limit for limit in limits if limit is not None), default=None)


def free() -> int | None:
    """What can be had of it. Free pages alone are few where files have been read, but their caches
    make room.
    """
    return min(_free(), default=None)


def _free() -> Iterator[int]:
    available = _told(_SYSTEM, "MemAvailable:")
    if available is not None:
        yield available
    else:
        with suppress(OSError, ValueError):
            yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _limit()
    if limit is not None:
        with suppress(OSError, ValueError):
            used = int((_CONTAINER / "memory.current").read_text())
            cached = _told(_CONTAINER / "memory.stat", "inactive_file") or 0
            yield max(limit - used + cached, 0)


def _limit() -> int | None:
    with suppress(OSError, ValueError):  # no container, or "max"
        return int((_CONTAINER / "memory.max").read_text())
    return None


def _told(path: Path, key: str) -> int | None:
    with suppress(OSError, StopIteration, ValueError):
        lines = map(str.split, path.read_text().splitlines())
        _, amount, *unit = next(words for words in lines if words[:1] == [key])
        return int(amount) * (1024 if unit == ["kB"] else 1)
    return None
