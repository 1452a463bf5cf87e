"""What setup.py refuses before it builds anything."""

import os
import subprocess
import sys

import pytest

from . import programs

ROOT = programs.HERE.parent.parent


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sm_90", "IMPCORE_CUDA_ARCHS='sm_90' is not like 90 or 80,90,100"),
        ("90,75", "IMPCORE_CUDA_ARCHS has 75; the kernels need compute capability 8.0 (Ampere)"),
    ],
)
def test_architectures_that_cannot_be_built_for_are_named(given, message):
    env = {**os.environ, "IMPCORE_CUDA": "0", "IMPCORE_CUDA_ARCHS": given}
    run = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert message in done.stderr
