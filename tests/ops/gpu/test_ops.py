"""Every op on a GPU against the CPU: the same masks to the bit, the same sums to 1e-12."""

import numpy as np
import pytest
import torch

from impcore import ops

from .. import cases, step_cases, sweep, tensors
from ..step_cases import every_op
from ..tensor_sweep import play

pytestmark = pytest.mark.gpu
DTYPES = ["float32", "bfloat16", "float16"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_cases_equal_a_stable_sort(dtype, seed, gpu_backend):
    batch = cases.Batch(seed, dtype, 150)
    sweep.verify_masks_and_sums(batch, play(batch, "cuda"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_around_the_chunk_length(dtype, gpu_backend):
    batch = cases.Batch(11, dtype, 6, cases.border_sizes)
    sweep.verify_masks_and_sums(batch, play(batch, "cuda"))


@pytest.mark.parametrize("seed", range(12))
def test_large_cases_equal_a_stable_sort(seed, gpu_backend):
    batch = cases.Batch(seed, DTYPES[seed % 3], 2, cases.large_sizes)
    sweep.verify_masks_and_sums(batch, play(batch, "cuda"))


def test_repeated_runs_give_one_hash(gpu_backend):
    batch = cases.Batch(1, "float32", 1, cases.large_sizes, clean=True)
    assert len({sweep.digest(batch, play(batch, "cuda")) for _ in range(10)}) == 1


@pytest.mark.parametrize("dtype", step_cases.DTYPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.5])
@every_op
def test_steps_are_the_cpu_s(make, dtype, density, gpu_backend, monkeypatch):
    shapes = [*step_cases.SIZES, (8192 + 33,), (300, 700)]
    case = make(dtype, shapes=shapes, density=density, grad_scale=torch.tensor(3.0))
    got = _on_gpu(case)
    monkeypatch.setenv("IMPCORE_BACKEND", "cpu")
    want = case.run()
    for i in range(len(case.params)):
        mask = case.masks[i]
        for ours, theirs in zip(
            step_cases.written(got, i), step_cases.written(want, i), strict=True
        ):
            tolerance = 4 * torch.finfo(dtype).eps
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
            if mask is not None:
                assert not tensors.storage(ours)[~mask].any()


@every_op
def test_a_skipped_step_touches_nothing(make, gpu_backend):
    case = make(torch.float32, found_inf=torch.tensor(1.0))
    assert _on_gpu(case).bits() == case.bits()


def _on_gpu(case):
    """The case after a step on the GPU, back on the CPU."""
    after = case.replaced(lambda t: t.cuda())
    options = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in case.options.items()}
    arena = case.arena()
    case.op(*after.lists(), None if arena is None else arena.cuda(), case.words(), **options)
    return after.replaced(lambda t: t.cpu())


def test_bits(gpu_backend):
    rng = np.random.default_rng(0)
    for n in (0, 1, 31, 32, 33, 100_003):
        bools = torch.from_numpy(rng.random(n) < 0.3)
        words = ops.bits.pack(bools.cuda())
        assert torch.equal(ops.bits.unpack(words, n).cpu(), bools)
        assert int(ops.bits.count(words)) == int(bools.sum())
    logical = torch.from_numpy(rng.random((6, 5, 3, 3)) < 0.5)
    last = logical.to(memory_format=torch.channels_last)
    words = ops.bits.pack(logical.flatten().cuda())
    permuted = ops.bits.permute(words, logical.shape, logical.stride(), last.stride())
    flat = last.as_strided((last.numel(),), (1,))
    assert torch.equal(ops.bits.unpack(permuted, last.numel()).cpu(), flat)


def test_rewind(gpu_backend):
    plan, weights = tensors.model()
    rng = np.random.default_rng(1)
    arena = tensors.pack([rng.random(n) < 0.5 for n in plan.numels])
    want = [int(mask.sum()) for mask in tensors.unpack(plan, arena)]
    assert ops.bits.counts(plan, arena.cuda()).tolist() == want
    sources = [torch.empty_like(w).normal_() for w in weights]
    ours = [w.cuda() for w in weights]
    ops.rewind(plan, ours, arena.cuda(), [s.cuda() for s in sources])
    for weight, source, mask in zip(ours, sources, tensors.unpack(plan, arena), strict=True):
        want = np.where(mask, tensors.storage(source), 0)
        assert np.array_equal(tensors.storage(weight.cpu()), want)


def test_a_plan_may_go_while_another_stream_still_reads_its_tables(gpu_backend):
    weights = [torch.rand(100_000, device="cuda")]
    plan = ops.Plan.make([100_000])
    arena = torch.full((plan.total_words,), -1, dtype=torch.int32, device="cuda")
    want = ops.block_l1(plan, weights, arena)  # its tables are this stream's
    torch.cuda.synchronize()
    other = torch.cuda.Stream()
    with torch.cuda.stream(other):
        torch.cuda._sleep(200_000_000)
        found = ops.block_l1(plan, weights, arena)
        ones = ops.bits.counts(plan, arena)
    del plan
    _trash = [torch.full((10,), -1, device="cuda") for _ in range(100)]
    torch.cuda.synchronize()
    assert torch.equal(found, want)
    assert ones.tolist() == [100_000]
