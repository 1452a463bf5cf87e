"""Builds csrc/cuda and its binding for the host: the extension module `cuda_on_host`.

Incremental (ninja): a build folder is kept between runs, one for each kind of build.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

import ninja
import pybind11
import pytest

from . import programs

ROOT = programs.HERE.parent.parent
# g++'s sanitizers for the kernels; test_cuda_sanitized.py runs the ops' tests with more of them.
VARIABLE = "IMPCORE_TEST_SANITIZERS"
SANITIZERS = os.environ.get(VARIABLE, "undefined")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
# -g1: a sanitizer's report has lines. Everything that it finds ends the process.
FLAGS = [*programs.FLAGS, "-g1", "-fPIC", "-fno-sanitize-recover=all"]
RULES = """\
rule cxx
  command = {compiler} {flags} $language -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = {compiler} {sanitizers} -shared $in $libraries -o $out
"""


def build(sanitizers: str = SANITIZERS) -> Path:
    """The path of the module."""
    if programs.COMPILER is None:
        pytest.skip("no C++ compiler")
    folder = ROOT / "build" / f"cuda_host_{sanitizers.replace(',', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "build.ninja").write_text(ninja_file(sanitizers))
        run = [Path(ninja.BIN_DIR) / "ninja", "-C", folder]
        done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"cuda_on_host{SUFFIX}"


def ninja_file(sanitizers: str) -> str:
    """Two libraries: the kernels' thread-local storage must hold their shared memory alone."""
    checks = f"-fsanitize={sanitizers} -fno-sanitize=vptr"
    includes = f"-I{sysconfig.get_path('include')} -I{pybind11.get_include()}"
    flags = " ".join([*FLAGS, checks, includes])
    kernels = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), programs.EMULATOR / "runtime.cpp"]
    binding = [ROOT / "csrc/bindings_cuda.cpp", programs.EMULATOR / "module.cpp"]
    lines = [RULES.format(compiler=programs.COMPILER, flags=flags, sanitizers=checks)]
    for source in [*kernels, *binding]:
        lines.append(f"build {source.name}.o: cxx {source}")
        if source in kernels:
            lines.append(f"  language = {' '.join(programs.CUDA_ON_HOST)}")
    lines.append(f"build libkernels.so: link {' '.join(f'{s.name}.o' for s in kernels)}")
    objects = " ".join(f"{s.name}.o" for s in binding)
    lines.append(f"build cuda_on_host{SUFFIX}: link {objects} | libkernels.so")
    lines.append("  libraries = -L. -lkernels -Wl,-rpath,'$$ORIGIN'")
    return "\n".join([*lines, ""])


def load(path: Path) -> ModuleType:
    """The module at a path."""
    spec = importlib.util.spec_from_file_location("cuda_on_host", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
