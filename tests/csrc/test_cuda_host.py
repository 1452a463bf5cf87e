"""Compiles and runs cuda_host_test.cu: the emulator that runs our CUDA kernels on the host."""

import os
import subprocess

import pytest

from . import programs


@pytest.fixture(scope="module", params=["undefined", "address,undefined"])
def program(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("cuda_host") / "test"
    sources = [programs.HERE / "cuda_host_test.cu", programs.EMULATOR / "runtime.cpp"]
    return programs.build(sources, out, request.param, programs.CUDA_ON_HOST)


def run(program, *arguments):
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([program, *arguments], env=env, capture_output=True, text=True)


def test_right_kernels_run_and_wrong_ones_show(program):
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def test_a_false_check_fails(program):
    done = run(program, "control")
    assert done.returncode == 1
    assert "cuda_host_test.cu" in done.stdout
