"""The machine that a benchmark ran on."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from impcore import _C

HERE = Path(__file__).parent


def machine() -> dict[str, Any]:
    """Processor, threads, versions, commit and date."""
    return {
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "isa": _C.isa(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments], capture_output=True, text=True, cwd=HERE, check=False
            )
        except OSError:
            return ""
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../csrc", "../impcore")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if changed else "")
