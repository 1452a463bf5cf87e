"""What a GPU run does, in order: the most valuable first, so that a cut-off still leaves results.

Invariant: every test marked `gpu` is in exactly one stage; the last one takes what no other names.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_LIMIT = 150
"""Seconds for one test; the limit of one that waits for child processes is its own."""


@dataclass(frozen=True)
class Stage:
    """One command of a part.

    Attributes:
        name: of the stage.
        command: what is run, from the root of the repository.
        limit: seconds after which it is ended; less where less of its part's time is left.
        environment: variables besides those that all stages have.
        results: files that it leaves, to be copied beside the log.
    """

    name: str
    command: list[str]
    limit: int
    environment: dict[str, str] = field(default_factory=dict)
    results: str = ""


def build() -> list[Stage]:
    """The native module with its CUDA kernels, for the GPU at hand alone."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    return [Stage("build", command, 300, {"IMPCORE_CUDA": "1"})]


# Name, seconds, processes, and the paths whose `gpu` tests it runs.
_TESTS: list[tuple[str, int, int, list[str]]] = [
    ("ops", 240, 6, ["tests/ops/gpu/test_ops.py", "tests/gpu/test_library.py"]),
    ("graphs", 120, 3, ["tests/ops/gpu/test_capture.py", "tests/gpu/test_no_sync.py"]),
    ("runs", 200, 4, ["tests/imp"]),
    ("sanitizer", 240, 1, ["tests/ops/gpu/test_sanitizer.py"]),
    ("huge", 120, 2, ["tests/ops/gpu/test_huge.py"]),
    ("others", 120, 4, []),
]


def test() -> list[Stage]:
    """The tests marked `gpu`."""
    taken = [path for *_, paths in _TESTS for path in paths]
    rest = ["tests", *(f"--ignore={path}" for path in taken)]
    return [
        Stage(name, pytest(paths or rest, processes), limit, {"OMP_NUM_THREADS": "2"})
        for name, limit, processes, paths in _TESTS
    ]


def pytest(arguments: list[str], processes: int) -> list[str]:
    """pytest on GPU tests, a line a test as it ends.

    Several processes share the GPU, and one that dies (a lost context, a kernel that hangs) costs
    one test: pytest-xdist goes on in a fresh process.
    """
    workers = ["-n", str(min(processes, os.cpu_count() or 1))] if find_spec("xdist") else []
    timeout = ["--timeout", str(TEST_LIMIT), "--timeout-method", "thread"]
    options = ["-v", "-m", "gpu", "--color=no", "--durations=5", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *options, *timeout, *workers, *arguments]


# Seconds after which a benchmark begins nothing more; what it has begun may take half a minute.
_BENCHMARKS = {"mask": 200, "optim": 110, "block_l1": 60}


def bench() -> list[Stage]:
    """The benchmarks on the GPU. Each merges what it measures into the file of the GPU."""
    options = ["--device", "cuda", "--limit"]
    stages = []
    for name, limit in _BENCHMARKS.items():
        command = [sys.executable, f"benchmarks/bench_{name}.py", *options, str(limit)]
        stages.append(Stage(f"bench {name}", command, limit + 40, results="benchmarks/results"))
    return [*stages, Stage("tables", [sys.executable, "benchmarks/tables.py"], 30)]


PARTS = {"build": build, "test": test, "bench": bench}
