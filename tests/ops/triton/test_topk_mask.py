"""The selection by Triton's kernels against the reference, stage by stage; see test_interpreted."""

import os

import numpy as np
import pytest
import torch

from impcore import ops

pytest.importorskip("triton")
if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("run by test_interpreted.py in a process of its own", allow_module_level=True)

from triton.runtime import interpreter

from impcore.ops.reference import topk_mask as reference
from impcore.ops.triton import tables
from impcore.ops.triton import topk_mask as kernels
from impcore.ops.triton.topk_state import HIGH, LOW

from .. import tensors

DRAWS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "few": lambda rng, n: rng.standard_normal(n).round(),
    "equal": lambda rng, n: np.full(n, -0.5),
    "narrow": lambda rng, n: rng.uniform(128.6, 128.7, n),
}


def check(weights, masks, k, bracket=(), blocks=None):
    """Masks to the bit, status and sums; nothing beyond the workspace is written."""
    plan = ops.Plan.make([w.numel() for w in weights], blocks)
    arena = tensors.pack(masks)
    size = kernels.workspace_bytes(plan.chunks)
    workspace = torch.randint(0, 256, (size + 64,), dtype=torch.uint8)
    guard = workspace[size:].clone()
    got_mask, want_mask = torch.full_like(arena, 77), arena.clone()
    amount = torch.tensor(k)
    args = (plan.num_blocks, list(bracket))
    got = kernels.topk_mask(plan.chunks, weights, arena, got_mask, amount, workspace[:size], *args)
    want = reference.topk_mask(plan.chunks, weights, arena, want_mask, amount, workspace, *args)
    assert torch.equal(workspace[size:], guard)
    assert got[0].tolist() == want[0].tolist()
    if int(got[0]) == 0:
        assert torch.equal(got_mask, want_mask)
        for mine, exact in zip(got[1:], want[1:], strict=True):
            torch.testing.assert_close(mine, exact, rtol=1e-12, atol=0)
    else:
        assert not got[1].any()
        assert not got[2].any()


def case(seed, dtype, draw, sizes):
    rng = np.random.default_rng(seed)
    weights = [torch.from_numpy(DRAWS[draw](rng, n)).to(dtype) for n in sizes]
    masks = [rng.random(n) < rng.choice([0.3, 1.0]) for n in sizes]
    return rng, weights, masks, sum(int(m.sum()) for m in masks)


@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
@pytest.mark.parametrize("draw", DRAWS)
def test_triton_small_cases(dtype, draw):
    rng, weights, masks, alive = case(3, dtype, draw, [33, 0, 1, 70])
    check(weights, masks, int(rng.integers(0, alive)), blocks=[0, 2, 2, 1])


@pytest.mark.parametrize("k", [-1, 0, 1, 48, 49])
def test_triton_the_ends_of_k(k):
    _, weights, _, _ = case(4, torch.float32, "few", [33, 15])
    check(weights, [np.ones(33, dtype=bool), np.ones(15, dtype=bool)], k)


def test_triton_non_finite_weights_are_counted():
    _, weights, _, _ = case(4, torch.float16, "few", [33, 15])
    weights[0][3], weights[1][7] = float("nan"), float("-inf")
    check(weights, [np.ones(33, dtype=bool), np.ones(15, dtype=bool)], 5)


@pytest.mark.parametrize(
    ("dtype", "draw"),
    [(torch.float32, "normal"), (torch.float32, "equal"), (torch.bfloat16, "normal")],
    ids=str,
)
def test_triton_sampled_cases(dtype, draw, monkeypatch):
    """Several tiles, with a sample, whatever the size."""
    monkeypatch.setattr(kernels, "SMALL", 0)
    _, weights, masks, alive = case(5, dtype, draw, [4_500, 100])
    check(weights, masks, round(0.3 * alive))


def test_triton_a_bracket_that_misses_falls_back():
    _, weights, masks, alive = case(7, torch.float32, "normal", [4_200, 100])
    for bracket in ((0, 5), (2**31 - 9, 2**31 - 1)):
        check(weights, masks, alive // 3, bracket)


def bracket_of(weights, k):
    """Of the sample of one tensor, all of it alive; the sampling launches alone."""
    plan = ops.Plan.make([weights.numel()])
    workspace = torch.zeros(kernels.workspace_bytes(plan.chunks), dtype=torch.uint8)
    scratch = kernels.Scratch.cut(workspace, len(plan.chunks), plan.total)
    pointers = tables.addresses([weights], weights.device)
    amount = torch.tensor(k)
    kernels._find_bracket(scratch, plan.chunks, pointers, [weights], tensors.ones(plan), amount, [])
    return int(scratch.control[LOW.value]), int(scratch.control[HIGH.value])


def test_triton_filters_of_different_scale_do_not_make_the_sample_miss(monkeypatch):
    """The weights of a place are alike: with the margin of independent draws three would miss."""
    monkeypatch.setattr(kernels, "SMALL", 0)
    n = 200_000
    for seed in range(60, 72):
        rng = np.random.default_rng(seed)
        scale = np.repeat(rng.uniform(1, 2, -(-n // 256)), 256)[:n]
        noise = 1 + 0.001 * rng.standard_normal(n)
        weights = torch.from_numpy((scale * noise).astype(np.float32))
        keys = weights.abs().view(torch.int32)
        k = round((0.2 + 0.05 * (seed % 12)) * n)
        low, high = bracket_of(weights, k)
        assert low <= int(keys.kthvalue(k).values) <= high


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1.25), (torch.float16, 1.75)], ids=str)
def test_triton_independent_weights_give_few_candidates(dtype, most, monkeypatch):
    """In float16 the first digit has narrower bins, which the ends of the bracket do not leave."""
    monkeypatch.setattr(kernels, "SMALL", 0)
    n, share = 600_000, 0.3
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(n)).to(dtype)
    wide = dtype == torch.float32
    keys = weights.abs().view(torch.int32 if wide else torch.int16)
    low, high = bracket_of(weights, round(share * n))
    errors = 8 * (share * (1 - share) * n / 64) ** 0.5 * 64
    found = int(((keys > low) & (keys < high)).sum())
    assert 0.7 * errors < found < most * errors


def test_triton_launches_are_fixed_by_the_plan(monkeypatch):
    """Whatever k and the weights are: ties, non-finite weights, everything pruned."""
    monkeypatch.setattr(kernels, "SMALL", 0)
    launches = []
    run = interpreter.GridExecutor.__call__
    monkeypatch.setattr(
        interpreter.GridExecutor,
        "__call__",
        lambda self, *a, **k: (launches.append(self.fn.__name__), run(self, *a, **k)),
    )
    seen = []
    _, weights, masks, alive = case(8, torch.float32, "normal", [700, 33])
    for values, k in [(0, alive // 3), (1, alive // 3), (2, 5), (0, alive)]:
        weights[1].fill_([0.5, -0.5, float("nan")][values])
        if values == 1:
            weights[0].fill_(0.5)
        launches.clear()
        check(weights, masks, k)
        seen.append(list(launches))
    assert all(s == seen[0] for s in seen)
    assert seen[0] == ["take", *["refine"] * 2, "scan", *["narrow"] * 4, "ties", "fix", "fold"]
