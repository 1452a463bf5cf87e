"""The CUDA kernels on emulated threads, under AddressSanitizer: they stay within their tensors.

Python itself runs without it, so the library is loaded before: then it knows all tensors' bounds.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import emulated, programs

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def environment():
    """For a Python in which the emulated kernels are those with AddressSanitizer."""
    emulated.build("address,undefined")
    ask = [programs.COMPILER, "-print-file-name=libasan.so"]
    library = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("no libasan.so beside the compiler")
    return {
        **os.environ,
        emulated.VARIABLE: "address,undefined",
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": os.pathsep.join(map(str, (emulated.ROOT, emulated.ROOT / "tests"))),
    }


def python(environment, *arguments):
    run = [sys.executable, *arguments]
    return subprocess.run(run, cwd=emulated.ROOT, env=environment, capture_output=True, text=True)


def test_the_ops_stay_within_their_tensors(environment):
    options = ["-q", "-p", "no:cacheprovider", "-k", "order0", "--timeout", "1800"]
    done = python(environment, "-m", "pytest", *options, "tests/ops/cuda")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


BEYOND = """
import numpy as np
from csrc import emulated
module = emulated.load(emulated.build())
bools, words = np.ones(1000, dtype=bool), np.empty(31, dtype=np.int32)
module.pack(bools.ctypes.data, bools.size, words.ctypes.data, 0)
"""


def test_a_word_too_many_shows(environment):
    done = python(environment, "-c", BEYOND)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "pack_words" in done.stderr
