"""The selection against a stable sort, to the bit; and the two-phase contract around it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impcore
from impcore import ops

from . import cases, sweep, tensors

DTYPES = ["float32", "bfloat16", "float16"]
LARGE = [(seed, DTYPES[seed % 3]) for seed in range(200)]


def check(batch, threads):
    """Runs the batch at each number of threads; all of it must be right, and the same bytes."""
    digests = set()
    for count in threads:
        got = sweep.run(batch, count)
        sweep.verify(batch, got)
        digests.add(sweep.digest(batch, got))
    assert len(digests) == 1


@pytest.mark.parametrize("seed", range(20))
def test_20_000_small_cases_equal_a_stable_sort(seed):
    check(cases.Batch(seed, DTYPES[seed % 3], 1000), threads=(1, 2))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_1_000_000_small_cases_equal_a_stable_sort(seed):
    check(cases.Batch(seed, DTYPES[seed % 3], 5000), threads=(1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_around_the_chunk_length(dtype):
    check(cases.Batch(11, dtype, 6, cases.border_sizes), threads=(1, 2, 3))


@pytest.mark.parametrize(("seed", "dtype"), LARGE[:4])
def test_large_cases_equal_a_stable_sort(seed, dtype):
    check(cases.Batch(seed, dtype, 1, cases.large_sizes, clean=True), threads=(1, 2, 3))


@pytest.mark.soak
@pytest.mark.parametrize(("seed", "dtype"), LARGE)
def test_200_large_cases_equal_a_stable_sort(seed, dtype):
    check(cases.Batch(seed, dtype, 1, cases.large_sizes), threads=(1, 2))


def test_small_cases_cover_every_kind_of_input():
    """The generator is only worth something while it draws what the suite claims to cover."""
    batch = cases.Batch(0, "float32", 1000)
    assert {(s > 0) - (s < 0) for s in batch.status.tolist()} == {-1, 0, 1}
    assert {b is None for b in batch.brackets} == {True, False}
    clean = batch.status == 0
    forced = [
        (b, t) for b, t, c in zip(batch.brackets, batch.threshold, clean, strict=True) if b and c
    ]
    assert any(hi < t for (_, hi), t in forced)
    assert any(lo > t for (lo, _), t in forced)
    assert any(lo == hi == t for (lo, hi), t in forced)
    assert any(lo < t < hi for (lo, hi), t in forced)
    minus_zero, subnormal = batch.bits == 0x80000000, (batch.keys > 0) & (batch.keys < 0x800000)
    assert (minus_zero & batch.alive).any()
    assert (subnormal & batch.alive).any()
    ties = np.unique(batch.case[batch.alive] << 32 | batch.keys[batch.alive])
    assert ties.size < 0.9 * batch.alive.sum()


def test_a_single_wrong_bit_is_reported():
    batch = cases.Batch(5, "float32", 50, clean=True)
    got = sweep.run(batch, 1)
    sweep.verify(batch, got)
    got.mask_out[3] ^= 1
    with pytest.raises(AssertionError, match="mask_out differs in 1 places"):
        sweep.verify(batch, got)


def test_a_swapped_tie_and_a_lost_ulp_are_reported():
    batch = cases.Batch(6, "float32", 50, clean=True)
    got = sweep.run(batch, 1)
    tie = batch.alive & (batch.keys == batch.threshold[batch.case])
    split = np.intersect1d(batch.case[tie & batch.kept], batch.case[tie & ~batch.kept])
    case = int(split[0])
    tied = np.flatnonzero(tie & (batch.case == case))
    kept = batch.kept.copy()
    kept[tied] = kept[tied[::-1]]
    swapped = sweep.run(batch, 1)
    swapped.mask_out[:] = batch.arena(kept)
    with pytest.raises(AssertionError, match=f"mask_out differs.*case {case}"):
        sweep.verify(batch, swapped)
    column = np.flatnonzero(got.before[0])[0]
    got.before[0, column] = np.nextafter(got.before[0, column], np.inf)
    with pytest.raises(AssertionError, match="sums_before against block_l1"):
        sweep.verify(batch, got)


def sweep_in_process(isa, threads):
    root = Path(impcore.__file__).parent.parent
    env = {**os.environ, "IMPCORE_ISA": isa, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-m", "ops.sweep", str(threads)],
        cwd=Path(__file__).parent.parent,
        env=env,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def portable_digest():
    done = sweep_in_process("portable", 1)
    assert done.returncode == 0, done.stderr
    name, digest = done.stdout.split()
    assert name == "portable"
    return digest


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bits(isa, portable_digest):
    done = sweep_in_process(isa, 2)
    if "is not supported by this CPU" in done.stderr:
        pytest.skip(f"this CPU has no {isa}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, portable_digest]


def test_an_unknown_instruction_set_is_an_error():
    done = sweep_in_process("sse9", 1)
    assert done.returncode != 0
    assert "IMPCORE_ISA=sse9 is unknown; known are avx512, avx2 and portable" in done.stderr


@st.composite
def tiny_selections(draw):
    """A few tensors over a small alphabet of bit patterns: shrinks to the smallest failing case."""
    dtype = draw(st.sampled_from(tensors.DTYPES))
    top, sign = (0x7F800000, 0x80000000) if dtype == torch.float32 else (0x7C00, 0x8000)
    some = st.sampled_from([0, 1, 2, top - 1, top // 2, sign, sign + 1, sign + top - 1])
    sizes = draw(st.lists(st.sampled_from([0, 1, 2, 3, 31, 32, 33, 70]), max_size=4))
    bits = [draw(st.lists(some, min_size=n, max_size=n)) for n in sizes]
    masks = [draw(st.lists(st.booleans(), min_size=n, max_size=n)) for n in sizes]
    k = draw(st.integers(0, sum(map(sum, masks))))
    ends = draw(st.none() | st.tuples(*[st.integers(0, 2**31 - 1)] * 2))
    return dtype, bits, masks, k, None if ends is None else tuple(sorted(ends))


@settings(max_examples=200)
@given(tiny_selections())
def test_tiny_cases_equal_sorting_in_plain_python(case):
    dtype, bits, masks, k, bracket = case
    wide = np.uint32 if dtype == torch.float32 else np.uint16
    raw = [np.array(row, dtype=wide) for row in bits]
    weights = [
        torch.from_numpy(r.view(wide(0).dtype.str.replace("u", "i"))).view(dtype) for r in raw
    ]
    plan = ops.Plan.make([len(row) for row in bits])
    arena = tensors.pack([np.array(m, dtype=bool) for m in masks])
    sign = 1 << (8 * wide(0).itemsize - 1)
    kept = tensors.sort_selects([[b & (sign - 1) for b in row] for row in bits], masks, k)
    wanted = [np.where(keep, row, 0) for keep, row in zip(kept, raw, strict=True)]
    selection = tensors.prune(plan, weights, arena, k, bracket=bracket)
    assert int(selection.status) == 0
    assert [m.tolist() for m in tensors.unpack(plan, arena)] == kept
    assert all(np.array_equal(tensors.storage(w), x) for w, x in zip(weights, wanted, strict=True))


def model(dtype=torch.float32, seed=0):
    """Weights in several layouts, one empty, one scalar, one misaligned; and a plan for them."""
    gen = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=gen).to(dtype)

    weights = [
        draw(8, 6, 3, 3).to(memory_format=torch.channels_last),
        draw(40, 70).t(),
        draw(0, 5),
        draw(),
        draw(101)[1:],
        draw(6, 5, 4).permute(2, 0, 1),
    ]
    return ops.Plan.make([w.numel() for w in weights]), weights


def ones(plan):
    return tensors.pack([np.ones(n, dtype=bool) for n in plan.numels])


@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
def test_layouts_select_in_storage_order(dtype, backend):
    plan, weights = model(dtype)
    flat = [w.as_strided((w.numel(),), (1,)).clone() for w in weights]
    arena, flat_arena = ones(plan), ones(plan)
    for k in (500, 700):
        tensors.prune(plan, weights, arena, k)
        tensors.prune(plan, flat, flat_arena, k)
    assert torch.equal(arena, flat_arena)
    for weight, want in zip(weights, flat, strict=True):
        assert np.array_equal(tensors.storage(weight), tensors.storage(want))
    assert sum(int(m.sum()) for m in tensors.unpack(plan, arena)) == plan.total - 1200


@pytest.mark.parametrize("seed", range(4))
def test_the_shipped_reference_agrees(seed, monkeypatch):
    """Every stage through the public ops: native against reference, masks exact, sums close."""
    results = []
    for name in ("cpu", "reference"):
        monkeypatch.setenv("IMPCORE_BACKEND", name)
        plan, weights = model(tensors.DTYPES[seed % 3], seed)
        plan = plan.with_blocks([0, 1, 1, 0, 3, 1])
        arena = ones(plan)
        selections = [tensors.prune(plan, weights, arena, k) for k in (0, 321, 1000)]
        results.append((arena, weights, selections))
    (arena, weights, selections), (want_arena, want_weights, want) = results
    assert torch.equal(arena, want_arena)
    for a, b in zip(weights, want_weights, strict=True):
        assert np.array_equal(tensors.storage(a), tensors.storage(b))
    for got, wanted in zip(selections, want, strict=True):
        assert torch.equal(got.status, wanted.status)
        for sums in ("sums_before", "sums_after"):
            torch.testing.assert_close(
                getattr(got, sums), getattr(wanted, sums), rtol=1e-12, atol=0
            )


def test_k_as_a_tensor_equals_k_as_an_int(backend):
    plan, weights = model()
    outs = []
    for k in (700, torch.tensor(700), torch.tensor([700])):
        mask_out, workspace = tensors.poisoned(plan)
        ops.topk_mask(plan, weights, ones(plan), mask_out, k, workspace)
        outs.append(mask_out)
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.parametrize(
    ("k", "status"), [(0, 0), (-1, -1), (-(2**70), -1), (2**70, -1), (None, -1)]
)
def test_k_of_zero_or_out_of_range_changes_nothing(k, status, backend):
    plan, weights = model()
    arena = ones(plan)
    before = arena.clone(), [tensors.storage(w) for w in weights]
    selection = tensors.prune(plan, weights, arena, plan.total + 1 if k is None else k)
    assert int(selection.status) == status
    assert torch.equal(arena, before[0])
    same = zip(weights, before[1], strict=True)
    assert all(np.array_equal(tensors.storage(w), b) for w, b in same)


def test_all_alive_weights_can_be_pruned(backend):
    plan, weights = model()
    arena = ones(plan)
    assert int(tensors.prune(plan, weights, arena, plan.total).status) == 0
    assert not arena.any()
    assert not any(tensors.storage(w).any() for w in weights)


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
def test_non_finite_alive_weights_change_nothing(bad, dtype, backend):
    plan, weights = model(dtype)
    weights[1][3, 5] = weights[4][99] = bad
    arena = ones(plan)
    before = arena.clone(), [tensors.storage(w) for w in weights]
    selection = tensors.prune(plan, weights, arena, 100)
    assert int(selection.status) == 2
    assert torch.equal(arena, before[0])
    same = zip(weights, before[1], strict=True)
    assert all(np.array_equal(tensors.storage(w), b) for w, b in same)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.0, 3.0])
def test_what_a_dead_weight_holds_becomes_plus_zero(bad, backend):
    plan, weights = model()
    masks = [np.arange(n) % 3 != 0 for n in plan.numels]
    for weight, mask in zip(weights, masks, strict=True):
        weight.as_strided((weight.numel(),), (1,))[torch.from_numpy(~mask)] = bad
    arena = tensors.pack(masks)
    assert int(tensors.prune(plan, weights, arena, 0).status) == 0
    assert torch.equal(arena, tensors.pack(masks))
    assert all(not tensors.storage(w)[~m].any() for w, m in zip(weights, masks, strict=True))


def test_a_full_candidate_pool_falls_back(monkeypatch):
    """More candidates than the pool holds: every key in the bracket, and far too few pages."""
    weights = [torch.randn(250_000), torch.randn(3, 70_000)]
    plan = ops.Plan.make([w.numel() for w in weights])
    pages = ops.workspace(plan).numel() / (256 * 6)
    assert pages * 256 < plan.total / 2
    keys = np.concatenate([tensors.storage(w) for w in weights]) & 0x7FFFFFFF
    for k in (0, 1, 230_000, plan.total):
        arena = ones(plan)
        clones = [w.clone() for w in weights]
        tensors.prune(plan, clones, arena, k, bracket=(0, 2**31 - 1))
        want = np.ones(plan.total, dtype=bool)
        want[np.argsort(keys, kind="stable")[:k]] = False
        assert np.array_equal(np.concatenate(tensors.unpack(plan, arena)), want)


@pytest.mark.parametrize("flush", [False, True])
def test_subnormals_count_even_when_torch_flushes_them(flush):
    weights = [torch.arange(1, 4097, dtype=torch.int32).view(torch.float32)]
    plan = ops.Plan.make([4096])
    arena = ones(plan)
    supported = torch.set_flush_denormal(flush)
    try:
        selection = tensors.prune(plan, weights, arena, 1000)
    finally:
        torch.set_flush_denormal(False)
    if flush and not supported:
        pytest.skip("this CPU cannot flush subnormals")
    assert not unpacked(plan, arena)[:1000].any()
    assert unpacked(plan, arena)[1000:].all()
    unit = 2.0**-149
    assert selection.sums_before.tolist() == [[unit * 4096 * 4097 / 2], [4096]]
    assert selection.sums_after.tolist() == [[unit * (4096 * 4097 - 1000 * 1001) / 2], [3096]]


def unpacked(plan, arena):
    return np.concatenate(tensors.unpack(plan, arena))


def test_sums_before_equal_block_l1_to_the_bit():
    plan, weights = model()
    plan = plan.with_blocks([0, 0, 1, 1, 2, 2])
    mask_out, workspace = tensors.poisoned(plan)
    selection = ops.topk_mask(plan, weights, ones(plan), mask_out, 300, workspace)
    assert torch.equal(selection.sums_before, ops.block_l1(plan, weights, ones(plan)))
    after = ops.block_l1(plan, weights, mask_out)
    torch.testing.assert_close(selection.sums_after, after, rtol=1e-12, atol=0)


def test_masks_are_nested_and_counts_exact_over_rounds(backend):
    plan, weights = model(seed=3)
    arena = ones(plan)
    remaining, kept = plan.total, unpacked(plan, arena)
    for _ in range(8):
        magnitudes = np.concatenate([np.abs(tensors.storage(w).view(np.float32)) for w in weights])
        k = round(0.2 * remaining)
        tensors.prune(plan, weights, arena, k)
        now = unpacked(plan, arena)
        assert not (now & ~kept).any()
        assert now.sum() == remaining - k
        assert magnitudes[kept & ~now].max() <= magnitudes[now].min()
        remaining, kept = remaining - k, now


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_threads_come_from_torch(threads, monkeypatch):
    seen = []
    native = ops.topk_mask.__globals__["_C"].topk_mask
    monkeypatch.setattr(
        ops.topk_mask.__globals__["_C"], "topk_mask", lambda *a: (seen.append(a[-1]), native(*a))
    )
    plan, weights = model()
    tensors.prune(plan, weights, ones(plan), 10)
    assert seen == [threads]


def test_nothing_to_select_from(backend):
    plan = ops.Plan.make([])
    selection = tensors.prune(plan, [], ones(plan), 0)
    assert int(selection.status) == 0
    assert selection.sums_before.shape == (2, 0)
    assert int(tensors.prune(plan, [], ones(plan), 1).status) == -1
    plan = ops.Plan.make([0, 0])
    assert (
        tensors.prune(plan, [torch.ones(0)] * 2, ones(plan), 0).sums_after.tolist() == [[0, 0]] * 2
    )


def test_commit_rewinds_survivors_to_a_source(backend):
    plan, weights = model()
    source = [torch.full_like(w, 7.5) for w in weights]
    arena = ones(plan)
    mask_out, workspace = tensors.poisoned(plan)
    selection = ops.topk_mask(plan, weights, arena, mask_out, 900, workspace)
    ops.commit(plan, weights, arena, mask_out, selection.status, source)
    for weight, mask in zip(weights, tensors.unpack(plan, arena), strict=True):
        assert np.array_equal(
            tensors.storage(weight).view(np.float32), np.where(mask, np.float32(7.5), np.float32(0))
        )
