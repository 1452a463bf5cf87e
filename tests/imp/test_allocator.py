from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

# Tensors of 16 MiB, of which a step keeps some while it frees and makes others.
_SCRIPT = """
import json, resource, sys, torch
from impcore.imp import allocator
kept = allocator.keep_freed() if sys.argv[1] == "keep" else None
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


def faults(choice: str, **environment: str) -> tuple[bool | None, int]:
    """Whether memory is kept, and the page faults of five steps that need 64 MiB each."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, choice],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = json.loads(done.stdout)
    return kept, count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_is_freed_is_used_again() -> None:
    kept, few = faults("keep")
    assert kept is True
    _, many = faults("leave")
    assert few < many / 10


def test_the_users_own_settings_stay() -> None:
    kept, _ = faults("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert kept is False
