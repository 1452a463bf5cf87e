"""The CUDA selection against a stable sort, to the bit."""

import numpy as np
import pytest
import torch

from impcore import ops

from .. import cases, sweep, tensors
from ..emulation import cuda_on_host
from ..sweep import play
from .sweep import Calls

DTYPES = ["float32", "bfloat16", "float16"]


def check(batch, emulator):
    """Runs the batch; all of it must be right. Returns a digest of it."""
    got = play(batch, lambda *buffers: Calls(emulator, batch, *buffers))
    sweep.verify(batch, got)
    return sweep.digest(batch, got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_cases_equal_a_stable_sort(dtype, emulator):
    check(cases.Batch(21, dtype, 40), emulator)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_around_the_chunk_length(dtype, emulator):
    check(cases.Batch(11, dtype, 3, cases.border_sizes), emulator)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_cases_equal_a_stable_sort(dtype, emulator):
    check(cases.Batch(5, dtype, 1, cases.large_sizes, clean=True), emulator)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(60))
def test_many_cases_equal_a_stable_sort(seed, emulator):
    check(cases.Batch(seed, DTYPES[seed % 3], 200), emulator)
    check(cases.Batch(seed, DTYPES[seed % 3], 2, cases.large_sizes), emulator)


def test_the_order_of_threads_and_blocks_changes_no_bit():
    batch = cases.Batch(7, "float32", 1, cases.large_sizes, clean=True)
    digests = set()
    for seed in range(3):
        with cuda_on_host(seed) as emulator:
            digests.add(check(batch, emulator))
    assert len(digests) == 1


def test_the_bits_of_the_mask_are_the_cpu_s_and_its_sums_nearly(emulator):
    batch = cases.Batch(8, "float32", 1, cases.large_sizes, clean=True)
    got = play(batch, lambda *buffers: Calls(emulator, batch, *buffers))
    cpu = sweep.run(batch, 1)
    assert np.array_equal(got.mask, cpu.mask)
    assert np.array_equal(got.weights, cpu.weights)
    assert np.allclose(got.before, cpu.before, rtol=1e-12, atol=0)
    assert np.allclose(got.after, cpu.after, rtol=1e-12, atol=0)


def test_a_layer_full_of_candidates(emulator):
    """More than a warp keeps in shared memory, and more than the workspace has room for."""
    rng = np.random.default_rng(0)
    for crowd in (3000, 150_000):
        batch = cases.Batch(9, "float32", 1, lambda _, crowd=crowd: [crowd, 200_000], clean=True)
        narrow = rng.uniform(1.0, 1.001, crowd).astype(np.float32).view(np.uint32)
        wide = rng.standard_normal(200_000).astype(np.float32).view(np.uint32)
        batch.bits = np.concatenate([narrow, wide])
        batch.alive[:] = True
        batch.keys = batch.format.keys(batch.bits)
        batch.magnitudes = np.abs(batch.format.decode(batch.bits))
        below = int((batch.keys < narrow.min()).sum())
        batch.k = np.array([below + crowd // 2])
        batch._select()
        batch.brackets = [(int(narrow.min()) - 1, int(narrow.max()) + 1)]
        check(batch, emulator)


def test_ties_over_more_tiles_than_are_shared_at_once():
    weights = [torch.ones(1 + i % 3) for i in range(520)]  # 8 tiles each
    plan = ops.Plan.make([w.numel() for w in weights], [0] * 520)
    arena, k = tensors.ones(plan), plan.total - 5
    tensors.prune(plan, weights, arena, k)
    left = torch.cat(weights)
    assert not left[:k].any()
    assert left[k:].all()
