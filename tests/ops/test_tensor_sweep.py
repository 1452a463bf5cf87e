"""The public ops on the kernels' own cases: what other devices are held to."""

import pytest

from . import cases, sweep
from .tensor_sweep import play


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_public_ops_do_what_the_kernels_do(dtype):
    for seed in (0, 1):
        batch = cases.Batch(seed, dtype, 60)
        got = play(batch, "cpu")
        sweep.verify(batch, got)
        assert sweep.digest(batch, got) == sweep.digest(batch, sweep.run(batch, 1))


def test_a_wrong_mask_is_reported():
    batch = cases.Batch(3, "float32", 20, clean=True)
    got = play(batch, "cpu")
    got.mask_out[0] ^= 1
    with pytest.raises(AssertionError, match="mask_out differs"):
        sweep.verify(batch, got)
