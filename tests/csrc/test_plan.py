"""Compiles and runs plan_test.cpp: csrc/plan.h and csrc/keys.h against brute force."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("plan_test.cpp")
COMPILER = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    path = tmp_path_factory.mktemp("csrc") / "plan_test"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined"]
    subprocess.run(
        [COMPILER, *flags, "-fno-sanitize-recover=all", str(SOURCE), "-o", str(path)], check=True
    )
    return path


def test_plan_and_keys(program):
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def test_a_false_check_fails(program):
    done = subprocess.run([program, "control"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "plan_test.cpp" in done.stdout
