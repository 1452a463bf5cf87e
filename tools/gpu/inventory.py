"""What a GPU run finds on its machine: the GPU, the compilers, the packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = """
import platform
from importlib import metadata
print("python", platform.python_version())
names = "torch triton numpy pybind11 ninja setuptools pytest pytest-xdist pytest-timeout hypothesis"
names += " pydantic tyro tomli-w transformers datasets nvidia-cuda-cccl"
for name in names.split():
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "is not installed")
"""
_DEVICE = """
import torch
torch.cuda.is_available() or exit(f"torch {torch.__version__} sees no CUDA device")
"""
_SMI = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version,memory.total", "--format=csv"]


def architecture() -> str | None:
    """The GPU's compute capability as IMPCORE_CUDA_ARCHS takes it ("90"); None if there is none."""
    said = _said([*_SMI, "-i", "0"]).splitlines()
    if len(said) != 2 or "," not in said[1]:
        return None
    return said[1].split(", ")[1].replace(".", "")


def lacking(environment: Mapping[str, str]) -> str:
    """Why no test or benchmark could use a GPU; "" if PyTorch sees one."""
    command = [sys.executable, "-c", _DEVICE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode == 0:
        return ""
    return done.stderr.strip().rpartition("\n")[2] or f"PyTorch ended with {done.returncode}"


def describe(environment: Mapping[str, str]) -> str:
    """The GPU, the toolkit and the packages, for the log."""
    parts = [_said(_SMI)]
    for name in ("nvcc", "compute-sanitizer", "g++"):
        found = shutil.which(name) or shutil.which(Path("/usr/local/cuda/bin") / name)
        parts.append(_said([found, "--version"]) if found else f"no {name}")
    parts.append(_said([sys.executable, "-c", _PACKAGES], environment))
    return "\n\n".join(part.strip() for part in parts)


def _said(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return done.stdout + done.stderr
