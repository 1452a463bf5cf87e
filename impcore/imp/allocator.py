"""Memory for training on the CPU: what a step frees is kept for the next one, in pages of 2 MiB.

By default glibc gives large blocks back to the system and gets them again, page by page, zeroed, in
every step: a tenth of the time of a ResNet. And Linux makes pages of 4 KiB unless asked, of which
an activation has thousands: another twentieth. Invariant: only where memory comes from changes,
never a bit of what is computed in it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_NEVER = -1
_MADV_HUGEPAGE = 14  # sys/mman.h
_LARGEST = (2**30, 2**25)  # bytes; older versions of glibc refuse the first
_HEAP = 2**32  # bytes of address space
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed() -> bool:
    """Keep what is freed, in blocks up to a gigabyte, for the rest of this process.

    Where the system lets programs choose the size of pages, the first 4 GiB get large ones; they
    are taken from the system only as they are used.

    Returns False, having done nothing, where the environment holds settings of malloc, which are
    then the user's choice, and where the C library is not glibc. Another allocator that is
    preloaded is not affected.
    """
    if any(name in os.environ for name in _CHOSEN):
        return False
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    largest = next((size for size in _LARGEST if mallopt(_M_MMAP_THRESHOLD, size)), 0)
    if not largest or not mallopt(_M_TRIM_THRESHOLD, _NEVER):
        return False
    if _address_space_is_free():
        _widen_heap(libc, largest // 2)
    return True


def _address_space_is_free() -> bool:
    """Whether memory that is asked for but not used costs nothing: no limit counts it."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2"
    except OSError:
        return False


def _widen_heap(libc: ctypes.CDLL, size: int) -> None:
    """Ask for large pages in a part of the heap that has not been used, and will be kept."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    blocks: list[int] = []
    while len(blocks) * size < _HEAP and (block := libc.malloc(size)):
        blocks.append(block)
    if blocks:
        start = -(-min(blocks) // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (max(blocks) + size) // mmap.PAGESIZE * mmap.PAGESIZE
        # It is advice: where the system takes none, pages stay small.
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_HUGEPAGE)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
