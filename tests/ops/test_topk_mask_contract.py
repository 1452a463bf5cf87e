"""The two-phase contract around the selection: what is refused, what is written, and when."""

import numpy as np
import pytest
import torch

from impcore import _C, ops

from . import tensors


@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
def test_layouts_select_in_storage_order(dtype, backend):
    plan, weights = tensors.model(dtype)
    flat = [w.as_strided((w.numel(),), (1,)).clone() for w in weights]
    arena, flat_arena = tensors.ones(plan), tensors.ones(plan)
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
        plan, weights = tensors.model(tensors.DTYPES[seed % 3], seed)
        plan = plan.with_blocks([0, 1, 1, 0, 3, 1])
        arena = tensors.ones(plan)
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
    plan, weights = tensors.model()
    outs = []
    for k in (700, torch.tensor(700), torch.tensor([700])):
        mask_out, workspace = tensors.poisoned(plan)
        ops.topk_mask(plan, weights, tensors.ones(plan), mask_out, k, workspace)
        outs.append(mask_out)
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.parametrize(
    ("k", "status"), [(0, 0), (-1, -1), (-(2**70), -1), (2**70, -1), (None, -1)]
)
def test_k_of_zero_or_out_of_range_changes_nothing(k, status, backend):
    plan, weights = tensors.model()
    arena = tensors.ones(plan)
    before = arena.clone(), [tensors.storage(w) for w in weights]
    selection = tensors.prune(plan, weights, arena, plan.total + 1 if k is None else k)
    assert int(selection.status) == status
    assert torch.equal(arena, before[0])
    same = zip(weights, before[1], strict=True)
    assert all(np.array_equal(tensors.storage(w), b) for w, b in same)


def test_all_alive_weights_can_be_pruned(backend):
    plan, weights = tensors.model()
    arena = tensors.ones(plan)
    assert int(tensors.prune(plan, weights, arena, plan.total).status) == 0
    assert not arena.any()
    assert not any(tensors.storage(w).any() for w in weights)


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", tensors.DTYPES, ids=str)
def test_non_finite_alive_weights_change_nothing(bad, dtype, backend):
    plan, weights = tensors.model(dtype)
    weights[1][3, 5] = weights[4][99] = bad
    arena = tensors.ones(plan)
    before = arena.clone(), [tensors.storage(w) for w in weights]
    selection = tensors.prune(plan, weights, arena, 100)
    assert int(selection.status) == 2
    assert torch.equal(arena, before[0])
    same = zip(weights, before[1], strict=True)
    assert all(np.array_equal(tensors.storage(w), b) for w, b in same)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.0, 3.0])
def test_what_a_dead_weight_holds_becomes_plus_zero(bad, backend):
    plan, weights = tensors.model()
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
        arena = tensors.ones(plan)
        clones = [w.clone() for w in weights]
        tensors.prune(plan, clones, arena, k, bracket=(0, 2**31 - 1))
        want = np.ones(plan.total, dtype=bool)
        want[np.argsort(keys, kind="stable")[:k]] = False
        assert np.array_equal(np.concatenate(tensors.unpack(plan, arena)), want)


@pytest.mark.parametrize("flush", [False, True])
def test_subnormals_count_even_when_torch_flushes_them(flush):
    weights = [torch.arange(1, 4097, dtype=torch.int32).view(torch.float32)]
    plan = ops.Plan.make([4096])
    arena = tensors.ones(plan)
    supported = torch.set_flush_denormal(flush)
    try:
        selection = tensors.prune(plan, weights, arena, 1000)
    finally:
        torch.set_flush_denormal(False)
    if flush and not supported:
        pytest.skip("this CPU cannot flush subnormals")
    assert not tensors.unpacked(plan, arena)[:1000].any()
    assert tensors.unpacked(plan, arena)[1000:].all()
    unit = 2.0**-149
    assert selection.sums_before.tolist() == [[unit * 4096 * 4097 / 2], [4096]]
    assert selection.sums_after.tolist() == [[unit * (4096 * 4097 - 1000 * 1001) / 2], [3096]]


def test_sums_before_equal_block_l1_to_the_bit():
    plan, weights = tensors.model()
    plan = plan.with_blocks([0, 0, 1, 1, 2, 2])
    mask_out, workspace = tensors.poisoned(plan)
    selection = ops.topk_mask(plan, weights, tensors.ones(plan), mask_out, 300, workspace)
    assert torch.equal(selection.sums_before, ops.block_l1(plan, weights, tensors.ones(plan)))
    after = ops.block_l1(plan, weights, mask_out)
    torch.testing.assert_close(selection.sums_after, after, rtol=1e-12, atol=0)


def test_masks_are_nested_and_counts_exact_over_rounds(backend):
    plan, weights = tensors.model(seed=3)
    arena = tensors.ones(plan)
    remaining, kept = plan.total, tensors.unpacked(plan, arena)
    for _ in range(8):
        magnitudes = np.concatenate([np.abs(tensors.storage(w).view(np.float32)) for w in weights])
        k = round(0.2 * remaining)
        tensors.prune(plan, weights, arena, k)
        now = tensors.unpacked(plan, arena)
        assert not (now & ~kept).any()
        assert now.sum() == remaining - k
        assert magnitudes[kept & ~now].max() <= magnitudes[now].min()
        remaining, kept = remaining - k, now


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_threads_come_from_torch(threads, monkeypatch):
    seen = []
    native = _C.topk_mask
    monkeypatch.setattr(_C, "topk_mask", lambda *a: (seen.append(a[-1]), native(*a)))
    plan, weights = tensors.model()
    tensors.prune(plan, weights, tensors.ones(plan), 10)
    assert seen == [threads]


def test_nothing_to_select_from(backend):
    plan = ops.Plan.make([])
    selection = tensors.prune(plan, [], tensors.ones(plan), 0)
    assert int(selection.status) == 0
    assert selection.sums_before.shape == (2, 0)
    assert int(tensors.prune(plan, [], tensors.ones(plan), 1).status) == -1
    plan = ops.Plan.make([0, 0])
    selection = tensors.prune(plan, [torch.ones(0)] * 2, tensors.ones(plan), 0)
    assert selection.sums_after.tolist() == [[0, 0]] * 2


def test_a_part_leaves_the_bits_of_other_tensors_alone(backend):
    plan = ops.Plan.make([40, 70_000, 33]).part((0, 2))
    weights = [torch.rand(40), torch.rand(33)]
    arena = torch.full((plan.total_words,), -1, dtype=torch.int32)
    arena[plan.words[1] + 1], arena[1] = 1, 255
    tensors.prune(plan, weights, arena, 50)
    assert (arena[2 : plan.words[1]] == -1).all()
    assert sum(int(m.sum()) for m in tensors.unpack(plan, arena)) == 23


def test_commit_rewinds_survivors_to_a_source(backend):
    plan, weights = tensors.model()
    source = [torch.full_like(w, 7.5) for w in weights]
    arena = tensors.ones(plan)
    mask_out, workspace = tensors.poisoned(plan)
    selection = ops.topk_mask(plan, weights, arena, mask_out, 900, workspace)
    ops.commit(plan, weights, arena, mask_out, selection.status, source)
    for weight, mask in zip(weights, tensors.unpack(plan, arena), strict=True):
        assert np.array_equal(
            tensors.storage(weight).view(np.float32), np.where(mask, np.float32(7.5), np.float32(0))
        )
