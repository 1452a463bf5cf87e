from __future__ import annotations

import json
import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Tensors of 16 MiB, of which a step keeps some while it frees and makes others.
_SCRIPT = """
import json, resource, torch
from impcore.imp import allocator
kept = allocator.keep_freed()
def step():
    held = [torch.ones(2**22) for _ in range(4)]
    return sum(float(t.sum()) for t in held)
for _ in range(10):  # until blocks of the right sizes lie about
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(json.dumps([kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of five steps that need 64 MiB each."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = json.loads(done.stdout)
    return kept, count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_is_freed_is_used_again() -> None:
    kept, count = faults()
    assert kept is True
    # Without it mostly all of their pages; sometimes none, as glibc moves its own threshold.
    assert count < 5 * 2**26 / mmap.PAGESIZE / 20


def test_the_users_own_settings_stay() -> None:
    kept, _ = faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept is False


# Address space, huge pages in use and both again after 256 MiB have been written to, in KiB.
_HUGE_SCRIPT = """
import json, re, resource, sys, torch
from impcore.imp import allocator
if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
def state():
    size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1])
    rows = open("/proc/self/smaps_rollup").read()
    return size, int(re.search(r"AnonHugePages:\\s+(\\d+)", rows)[1])
before = state()
assert allocator.keep_freed()
kept = state()
held = [torch.ones(2**22) for _ in range(16)]
print(json.dumps([before, kept, state()]))
"""


def sizes(choice: str) -> list[list[int]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", _HUGE_SCRIPT, choice],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[int]] = json.loads(done.stdout)
    return found


def takes_advice() -> bool:
    """Whether this system gives large pages to who asks."""
    try:
        enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        overcommit = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    except OSError:
        return False
    return "[never]" not in enabled and overcommit != "2"


@pytest.mark.skipif(not takes_advice(), reason="this system gives no large pages on advice")
def test_memory_comes_in_large_pages() -> None:
    before, kept, used = sizes("free")
    assert kept[0] - before[0] > 2**21  # more than 2 GiB of addresses ...
    assert kept[1] - before[1] < 2**14  # ... of which next to nothing is used
    assert used[1] - kept[1] > 2**17  # half of what was written to, at least


@pytest.mark.skipif(not takes_advice(), reason="this system gives no large pages on advice")
def test_a_limit_on_addresses_is_left_alone() -> None:
    before, kept, _ = sizes("limited")
    assert kept[0] - before[0] < 2**20
