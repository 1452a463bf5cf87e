"""The host's memory in bytes, as the system tells it; None where it does not."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def total() -> int | None:
    """What the machine, or the container, has."""
    limits = [] if (told := _told("MemTotal")) is None else [told]
    with suppress(OSError, ValueError):  # no container, or "max"
        limits.append(int(_CONTAINER.read_text()))
    return min(limits, default=None)


def free() -> int | None:
    """What can be had of the machine's: its free pages alone are few where files have been read,
    but their caches make room.
    """
    available = _told("MemAvailable")
    if available is None:
        with suppress(OSError, ValueError):
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return available


def _told(key: str) -> int | None:
    with suppress(OSError, StopIteration, ValueError):
        lines = _SYSTEM.read_text().splitlines()
        return int(next(s for s in lines if s.startswith(f"{key}:")).split()[1]) * 1024
    return None
