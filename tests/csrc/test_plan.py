"""Compiles and runs plan_test.cpp: csrc's plan.h, keys.h and floats.h against brute force."""

import subprocess

import pytest

from . import programs


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    out = tmp_path_factory.mktemp("csrc") / "plan_test"
    return programs.build([programs.HERE / "plan_test.cpp"], out, "undefined")


def test_plan_and_keys(program):
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def test_a_false_check_fails(program):
    done = subprocess.run([program, "control"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "plan_test.cpp" in done.stdout
