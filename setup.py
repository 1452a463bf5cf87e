"""Builds the native kernels with ninja; everything else is in pyproject.toml.

No PyTorch is needed at build time: the extension takes raw addresses (csrc/bindings.cpp), so one
build serves every torch version. Environment: CXX names the compiler, IMPCORE_CUDA=0/1 overrides
whether CUDA is built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import ninja
import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CPU_SOURCES = ["csrc/bindings.cpp", *sorted(str(p) for p in Path("csrc/cpu").rglob("*.cpp"))]
CUDA_SOURCES = sorted(str(p) for p in Path("csrc/cuda").glob("*.cu"))
CXX_FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fopenmp",
    # A fused multiply-add on one instruction set and not on another would give different bits.
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    # GCC 12's own AVX-512 header sets them off.
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
]
NINJA_RULES = """\
rule cxx
  command = {cxx} {flags} -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = C++ $in
rule link
  command = {cxx} -shared -fopenmp $in -o $out
  description = link $out
"""


def find_compiler() -> str:
    """The C++ compiler: $CXX, else g++, else the system's c++."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++"]
    for name in wanted:
        if found := shutil.which(name):
            return found
    sys.exit(
        f"impcore: no C++ compiler found (looked for {', '.join(wanted)}). Install one "
        "(Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++) or set CXX."
    )


def wants_cuda() -> bool:
    """Whether to build the CUDA kernels: IMPCORE_CUDA, else whether nvcc is there."""
    choice = os.environ.get("IMPCORE_CUDA", "")
    if choice not in ("", "0", "1"):
        sys.exit(f"impcore: IMPCORE_CUDA={choice!r} is not 0 or 1")
    if choice == "1" and not CUDA_SOURCES:
        sys.exit("impcore: IMPCORE_CUDA=1, but this version has no CUDA kernels; unset it")
    return bool(CUDA_SOURCES) and choice != "0" and (choice == "1" or bool(shutil.which("nvcc")))


class NinjaBuild(build_ext):
    """Compiles the sources in parallel, and again only what changed."""

    def build_extension(self, ext: Extension) -> None:
        """Writes build.ninja for one extension module and runs ninja."""
        out = Path(self.get_ext_fullpath(ext.name)).resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(self.build_temp).resolve()
        work.mkdir(parents=True, exist_ok=True)
        includes = [f"-I{sysconfig.get_path('include')}", f"-I{pybind11.get_include()}"]
        rules = NINJA_RULES.format(cxx=find_compiler(), flags=" ".join([*CXX_FLAGS, *includes]))
        objects = [f"{source.replace('/', '_')}.o" for source in ext.sources]
        edges = [
            f"build {obj}: cxx {ROOT / source}"
            for obj, source in zip(objects, ext.sources, strict=True)
        ]
        edges.append(f"build {out}: link {' '.join(objects)}")
        (work / "build.ninja").write_text("\n".join([rules, *edges, ""]))
        subprocess.run([Path(ninja.BIN_DIR) / "ninja", "-C", work], check=True)
        built = "yes" if wants_cuda() else "no"
        why = "" if CUDA_SOURCES else " (this version has no CUDA kernels)"
        print(f"impcore: built the backends cpu: yes, cuda: {built}{why}", flush=True)


wants_cuda()  # a wrong setting stops the build before anything is compiled
setup(
    ext_modules=[Extension("impcore._C", CPU_SOURCES)],
    cmdclass={"build_ext": NinjaBuild},
)
