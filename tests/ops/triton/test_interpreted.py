"""The CPU's own tests of the ops, on Triton's kernels, by Triton's interpreter.

The interpreter is chosen before Triton is imported, so one child process runs them all; each test
here reports one of its files. It runs one program after the other: it cannot show races.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import impcore

triton = pytest.importorskip("triton")
if triton.__version__ < "3.7" and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
    reason = f"the interpreter of Triton {triton.__version__} fails with NumPy {np.__version__}"
    pytest.skip(reason, allow_module_level=True)

OPS = Path(__file__).parent.parent
FILES = [
    "test_bits.py",
    "test_block_l1.py",
    "test_masked_adamw.py",
    "test_masked_sgd.py",
    "test_masked_step.py",
    "test_rewind.py",
    "test_topk_mask_contract.py",
    "triton/test_sweep.py",
    "triton/test_topk_mask.py",
]
# Of the selection's contract; they take most of its time.
LONG = [
    "masks_are_nested",
    "layouts_select",
    "non_finite_alive_weights_change",
    "what_a_dead_weight_holds_becomes",
    "k_as_a_tensor",
]


def run(wanted, options=(), files=FILES):
    """What the child printed: a line a test."""
    root = Path(impcore.__file__).parent.parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-rA", "-q", "--no-header", "-p", "no:cacheprovider"),
            *("-k", f"triton and {wanted}", "--deselect", __file__, *options),
            *(str(OPS / name) for name in files),
        ],
        cwd=OPS.parent.parent,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def report():
    return run(f"not ({' or '.join(LONG)})")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FILES)
def test_interpreted(name, report):
    check(name, report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_interpreted_long():
    check("triton/test_sweep.py", run("triton", ("-m", "soak")))
    contract = "test_topk_mask_contract.py"
    check(contract, run(f"({' or '.join(LONG)})", files=[contract]))


def check(name, report):
    lines = report.splitlines()
    passed = [x for x in lines if x.startswith("PASSED") and f"ops/{name}" in x]
    failed = [x for x in lines if x.startswith(("FAILED", "ERROR")) and f"ops/{name}" in x]
    assert passed, report[-8000:]
    assert not failed, report[-20000:]
