"""Block sums: exact counts, sums to the last bits, order fixed whatever the threads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore import ops

from . import cases, sweep, tensors


@st.composite
def weights_and_masks(draw):
    dtype = draw(st.sampled_from(tensors.DTYPES))
    sizes = draw(st.lists(st.sampled_from([0, 1, 31, 32, 33, 100]), max_size=4))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    weights = [torch.from_numpy(rng.normal(0, 10, n)).to(dtype) for n in sizes]
    masks = [rng.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0])) for n in sizes]
    blocks = [draw(st.integers(0, 3)) for _ in sizes]
    return weights, masks, blocks


@given(weights_and_masks())
def test_sums_equal_fsum(case):
    weights, masks, blocks = case
    plan = ops.Plan.make([w.numel() for w in weights], blocks)
    sums = ops.block_l1(plan, weights, tensors.pack(masks))
    assert sums.dtype == torch.float64
    assert sums.shape == (2, max(blocks, default=-1) + 1)
    for block in range(plan.num_blocks):
        mine = [
            abs(x)
            for w, m, b in zip(weights, masks, blocks, strict=True)
            if b == block
            for x in w.double()[torch.from_numpy(m)].tolist()
        ]
        assert sums[1, block] == len(mine)
        assert float(sums[0, block]) == pytest.approx(math.fsum(mine), rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", list(cases.FORMATS))
def test_threads_do_not_show(dtype):
    batch = cases.Batch(21, dtype, 3, cases.border_sizes, clean=True)
    sums = [sweep.run(batch, threads).l1.tobytes() for threads in (1, 2, 3)]
    assert sums[0] == sums[1] == sums[2]


@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_non_finite_weights_show_when_alive_only(bad, dtype, backend):
    weights = [torch.ones(40, dtype=dtype), torch.ones(3, dtype=dtype)]
    weights[0][7] = bad
    plan = ops.Plan.make([40, 3])
    alive = [np.ones(40, dtype=bool), np.ones(3, dtype=bool)]
    sums = ops.block_l1(plan, weights, tensors.pack(alive))
    np.testing.assert_array_equal(sums.numpy(), [[abs(bad), 3], [40, 3]])
    alive[0][7] = False
    sums = ops.block_l1(plan, weights, tensors.pack(alive))
    assert sums.tolist() == [[39, 3], [39, 3]]


def test_a_block_without_tensors_is_zero(backend):
    plan = ops.Plan.make([5, 5], blocks=[3, 1])
    sums = ops.block_l1(plan, [torch.ones(5), torch.ones(5)], tensors.pack([np.ones(5) > 0] * 2))
    assert sums.tolist() == [[0, 5, 0, 5]] * 2


def test_the_sums_are_of_the_storage_whatever_the_layout(backend):
    weight = torch.randn(4, 6, 5, 5).to(memory_format=torch.channels_last)
    plan = ops.Plan.make([weight.numel()])
    arena = tensors.pack([np.random.default_rng(0).random(weight.numel()) < 0.5])
    alive = torch.from_numpy(tensors.unpack(plan, arena)[0])
    want = weight.as_strided((600,), (1,))[alive].double().abs().sum()
    sums = ops.block_l1(plan, [weight], arena)
    torch.testing.assert_close(sums[0, 0], want, rtol=1e-14, atol=0)
    assert sums[1, 0] == alive.sum()


class Sums(torch.utils.data.Dataset):
    """Computes block sums in whatever process it is asked."""

    def __init__(self, weight):
        self.weight, self.plan = weight, ops.Plan.make([weight.numel()])

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return ops.block_l1(self.plan, [self.weight], tensors.ones(self.plan))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_forked_worker_neither_hangs_nor_differs(threads):
    """A fork inherits OpenMP's state without its threads: torch's setting of 1 has to rule."""
    data = Sums(torch.randn(300_000))
    want = data[0]
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    assert all(torch.equal(sums, want) for sums in loader)


def test_nothing_is_written(backend):
    weight, plan = torch.randn(100), ops.Plan.make([100])
    arena = tensors.pack([np.arange(100) % 2 == 0])
    before = weight.clone(), arena.clone(), weight._version, arena._version
    ops.block_l1(plan, [weight], arena)
    assert torch.equal(weight, before[0])
    assert torch.equal(arena, before[1])
    assert (weight._version, arena._version) == before[2:]
