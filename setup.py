"""Builds the native kernels with ninja; everything else is in pyproject.toml.

No PyTorch is needed at build time: the extension takes raw addresses (csrc/bindings.cpp), so one
build serves every torch version. Environment: CXX names the compiler, IMPCORE_CUDA=0/1 overrides
whether CUDA is built, IMPCORE_CUDA_ARCHS=90 or 80,90 for which GPUs, by their compute capability;
IMPCORE_WERROR=1 makes nvcc's warnings errors.
"""

from __future__ import annotations

import os
import re
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
CUDA_SOURCES = ["csrc/bindings_cuda.cpp", *sorted(str(p) for p in Path("csrc/cuda").glob("*.cu"))]
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
# Machine code for Ampere, Hopper and Blackwell data-centre GPUs (their minor versions run it too),
# and PTX for what comes after the last.
CUDA_ARCHITECTURES = os.environ.get("IMPCORE_CUDA_ARCHS") or "80,90,100"
if not re.fullmatch(r"\d{2,3}(,\d{2,3})*", CUDA_ARCHITECTURES):
    sys.exit(f"impcore: IMPCORE_CUDA_ARCHS={CUDA_ARCHITECTURES!r} is not like 90 or 80,90,100")
CUDA_ARCHITECTURES = sorted(set(CUDA_ARCHITECTURES.split(",")), key=int)
if int(CUDA_ARCHITECTURES[0]) < 80:
    sys.exit(
        f"impcore: IMPCORE_CUDA_ARCHS has {CUDA_ARCHITECTURES[0]}; the kernels need compute "
        "capability 8.0 (Ampere) or newer: 80"
    )
NVCC_FLAGS = [
    "-std=c++17",
    "-O3",
    # As for the CPU: the same bits on every device.
    "--fmad=false",
    # For the project's own tests: another host compiler may warn of what this one takes.
    *(["-Werror=all-warnings"] if os.environ.get("IMPCORE_WERROR") else []),
    *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in CUDA_ARCHITECTURES),
    f"-gencode=arch=compute_{CUDA_ARCHITECTURES[-1]},code=compute_{CUDA_ARCHITECTURES[-1]}",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra",
]
NINJA_RULES = """\
rule cxx
  command = {cxx} {flags} -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = C++ $in
rule nvcc
  command = {nvcc} {nvcc_flags} -MD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = CUDA $in
rule link
  command = {link} $in -o $out
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


def find_nvcc() -> str | None:
    """The CUDA compiler if the CUDA kernels are to be built: as IMPCORE_CUDA says, else if found.

    Looked for as $CUDA_HOME/bin/nvcc, on the path, and in /usr/local/cuda.
    """
    choice = os.environ.get("IMPCORE_CUDA", "")
    if choice not in ("", "0", "1"):
        sys.exit(f"impcore: IMPCORE_CUDA={choice!r} is not 0 or 1")
    if choice == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    places = [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]
    for place in places:
        if found := shutil.which(place):
            return found
    if choice == "1":
        sys.exit(
            f"impcore: IMPCORE_CUDA=1, but there is no nvcc (looked for {', '.join(places)}). "
            "Install the CUDA toolkit, or set CUDA_HOME to where it is."
        )
    return None


class NinjaBuild(build_ext):
    """Compiles the sources in parallel, and again only what changed."""

    def build_extension(self, ext: Extension) -> None:
        """Writes build.ninja for one extension module and runs ninja."""
        out = Path(self.get_ext_fullpath(ext.name)).resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(self.build_temp).resolve()
        work.mkdir(parents=True, exist_ok=True)
        (work / "build.ninja").write_text(ninja_file(ext.sources, out))
        subprocess.run([Path(ninja.BIN_DIR) / "ninja", "-C", work], check=True)
        print(
            f"impcore: built the backends cpu: yes, cuda: {'yes' if NVCC else 'no'}{WHY_NO_CUDA}",
            flush=True,
        )


def ninja_file(sources: list[str], out: Path) -> str:
    """What ninja is to do: compile each source by its kind, and link them."""
    includes = [f"-I{sysconfig.get_path('include')}", f"-I{pybind11.get_include()}"]
    defines = ["-DIMPCORE_CUDA"] if NVCC else []
    cxx = find_compiler()
    rules = NINJA_RULES.format(
        cxx=cxx,
        flags=" ".join([*CXX_FLAGS, *defines, *includes]),
        nvcc=NVCC or "false",
        nvcc_flags=" ".join(NVCC_FLAGS),
        # nvcc links the CUDA runtime statically: the module is imported without a driver too.
        link=f"{NVCC} -shared -Xcompiler=-fopenmp" if NVCC else f"{cxx} -shared -fopenmp",
    )
    objects = [f"{source.replace('/', '_')}.o" for source in sources]
    edges = [
        f"build {obj}: {'nvcc' if source.endswith('.cu') else 'cxx'} {ROOT / source}"
        for obj, source in zip(objects, sources, strict=True)
    ]
    edges.append(f"build {out}: link {' '.join(objects)}")
    return "\n".join([rules, *edges, ""])


# A wrong setting stops the build before anything is compiled.
NVCC = find_nvcc()
WHY_NO_CUDA = "" if NVCC or os.environ.get("IMPCORE_CUDA") == "0" else " (no nvcc found)"
setup(
    ext_modules=[Extension("impcore._C", CPU_SOURCES + (CUDA_SOURCES if NVCC else []))],
    cmdclass={"build_ext": NinjaBuild},
)
