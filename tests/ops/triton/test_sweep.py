"""The kernels' own cases by Triton's: every distribution, bracket and refusal; see
test_interpreted."""

import os

import pytest

pytest.importorskip("triton")
if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("run by test_interpreted.py in a process of its own", allow_module_level=True)

from .. import cases, sweep
from ..tensor_sweep import play

DTYPES = ["float32", "bfloat16", "float16"]


@pytest.fixture(autouse=True)
def by_triton(monkeypatch):
    monkeypatch.setenv("IMPCORE_BACKEND", "triton")


@pytest.mark.parametrize("dtype", DTYPES)
def test_triton_on_small_cases(dtype):
    batch = cases.Batch(0, dtype, 6)
    sweep.verify_masks_and_sums(batch, play(batch, "cpu"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
def test_triton_on_many_cases(seed):
    batch = cases.Batch(seed, DTYPES[seed % 3], 100)
    sweep.verify_masks_and_sums(batch, play(batch, "cpu"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_triton_around_the_chunk_length(dtype):
    batch = cases.Batch(11, dtype, 1, cases.border_sizes)
    sweep.verify_masks_and_sums(batch, play(batch, "cpu"))
