"""Block sums by the CUDA kernels: near the CPU's, and the same bits in whatever order they run."""

import numpy as np
import pytest
import torch

from impcore import ops

from .. import cases, tensors
from ..test_block_l1 import test_sums_equal_fsum

__all__ = ["test_sums_equal_fsum"]  # collected here too


@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
@pytest.mark.parametrize("shift", [0, 1])
def test_sums_of_many_tiles(dtype, shift, emulator, monkeypatch):
    """Over chunks and tiles, aligned to 16 bytes or not; garbage where the mask is 0."""
    rng = np.random.default_rng(shift)
    sizes = [2 * cases.CHUNK + 8191, 8192, 0, 8193, 1, 100]
    weights = [torch.randn(n + shift).to(dtype)[shift:] for n in sizes]
    masks = [rng.random(n) < 0.5 for n in sizes]
    for weight, mask in zip(weights, masks, strict=True):
        weight[torch.from_numpy(~mask)] = float("nan")
    plan = ops.Plan.make(sizes, [1, 0, 0, 3, 1, 0])
    arena = tensors.pack(masks)
    found = []
    for seed in range(3):
        emulator.seed(seed)
        found.append(ops.block_l1(plan, weights, arena))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    monkeypatch.setenv("IMPCORE_BACKEND", "cpu")
    want = ops.block_l1(plan, weights, arena)
    torch.testing.assert_close(found[0], want, rtol=1e-12, atol=0)
    assert torch.equal(found[0][1], want[1])


def test_more_tiles_than_a_fold_reads_at_once():
    weights = [torch.full((1 + i % 3,), float(i)) for i in range(520)]  # 8 tiles each
    plan = ops.Plan.make([w.numel() for w in weights], [0] * 520)
    sums = ops.block_l1(plan, weights, tensors.ones(plan))
    assert sums.tolist() == [[float(sum(w.sum() for w in weights))], [float(plan.total)]]
