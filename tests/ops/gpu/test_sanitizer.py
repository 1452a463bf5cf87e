"""compute-sanitizer finds nothing in the CUDA kernels; without the caching allocator, so that it
sees every tensor's bounds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from impcore import ops

pytestmark = pytest.mark.gpu
SANITIZER = shutil.which("compute-sanitizer") or shutil.which(
    "/usr/local/cuda/bin/compute-sanitizer"
)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
@pytest.mark.timeout(240)
def test_the_sanitizer_finds_nothing(tool):
    if SANITIZER is None:
        pytest.skip("no compute-sanitizer")
    if "cuda" not in ops.backends():
        pytest.skip("this build does not hold the backend cuda")
    tests = Path(__file__).parent.parent.parent
    environment = {
        **os.environ,
        "IMPCORE_BACKEND": "cuda",
        "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
        "PYTHONPATH": os.pathsep.join([str(tests.parent), os.environ.get("PYTHONPATH", "")]),
    }
    # PyTorch's own kernels are not our business.
    sanitizer = [SANITIZER, "--tool", tool, "--error-exitcode", "9"]
    only = ["--kernel-regex", "kns=impcore"]
    done = subprocess.run(
        [*sanitizer, *only, sys.executable, "-m", "ops.gpu.sanitized"],
        cwd=tests,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "done" in done.stdout
