"""Compiles the C++ test programs of this directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
EMULATOR = HERE / "cuda_host"
# What makes g++ take a .cu file. It does not know `#pragma unroll`.
CUDA_ON_HOST = [
    *("-x", "c++", f"-I{EMULATOR}", "-include", str(EMULATOR / "cuda_host.h")),
    "-Wno-unknown-pragmas",
]
FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]


def build(sources: list[Path], out: Path, sanitizers: str, flags: list[str] | None = None) -> Path:
    """A program from sources, in which what a sanitizer (if any) finds ends the process."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    checks = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"] if sanitizers else []
    subprocess.run(
        [COMPILER, *FLAGS, *checks, *(flags or []), *map(str, sources), "-o", str(out)], check=True
    )
    return out
