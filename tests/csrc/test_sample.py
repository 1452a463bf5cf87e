"""Compiles and runs sample_test.cpp and cuda_sample_test.cu: how well the samples of the CPU and of
the CUDA kernels (emulated) bracket the threshold."""

import os
import subprocess

import pytest

from . import programs


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    cpu = programs.HERE.parents[1] / "csrc" / "cpu"
    kernels = [cpu / "isa.cpp", *sorted((cpu / "simd").glob("*.cpp"))]
    sources = [programs.HERE / "sample_test.cpp", *kernels]
    # GCC 12's own AVX-512 header sets the warning off.
    flags = ["-O2", "-fopenmp", "-Wno-uninitialized", "-Wno-maybe-uninitialized"]
    return programs.build(sources, tmp_path_factory.mktemp("csrc") / "sample_test", "", flags)


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_the_bracket_holds_the_threshold(program, isa):
    environ = {**os.environ, "IMPCORE_ISA": isa}
    done = subprocess.run([program], capture_output=True, text=True, env=environ)
    if "is not supported by this CPU" in done.stderr:
        pytest.skip(f"this CPU has no {isa}")
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def test_the_bracket_of_the_cuda_kernels_holds_the_threshold(tmp_path):
    sources = [programs.HERE / "cuda_sample_test.cu", programs.EMULATOR / "runtime.cpp"]
    flags = [*programs.CUDA_ON_HOST, "-O2", "-Wno-unused-function"]
    program = programs.build(sources, tmp_path / "cuda_sample_test", "", flags)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr
