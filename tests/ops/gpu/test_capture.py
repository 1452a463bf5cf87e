"""Ops in a CUDA graph: what may change between replays changes through device memory."""

import gc

import pytest
import torch

from impcore import ops

from .. import cases, step_cases, tensors
from ..step_cases import every_op
from ..tensor_sweep import TensorCases

pytestmark = pytest.mark.gpu


def capture(function):
    """Runs a function once on a side stream, then captures it; returns the graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph


def test_a_replay_follows_k_and_the_mask(gpu_backend):
    """Rounds of pruning by one graph are rounds of pruning on the CPU."""
    plan, weights = tensors.model()
    ours = [w.cuda() for w in weights]
    pristine = [w.clone() for w in ours]
    arena, scratch = tensors.ones(plan).cuda(), tensors.ones(plan).cuda()
    workspace = ops.workspace(plan, "cuda")
    k = torch.zeros((), dtype=torch.int64, device="cuda")
    status = torch.empty(1, dtype=torch.int64, device="cuda")
    sums = torch.empty(2, 2, plan.num_blocks, dtype=torch.float64, device="cuda")

    def prune():
        found = ops.topk_mask(plan, ours, arena, scratch, k, workspace)
        ops.commit(plan, ours, arena, scratch, found.status)
        status.copy_(found.status)
        sums[0].copy_(found.sums_before)
        sums[1].copy_(found.sums_after)

    graph = capture(prune)
    for weight, kept in zip(ours, pristine, strict=True):
        weight.copy_(kept)
    arena.copy_(tensors.ones(plan))
    mine = tensors.ones(plan)
    for amount in (500, 0, 700, 1, 300):
        k.fill_(amount)
        graph.replay()
        expected = cpu_prune(plan, weights, mine, amount)
        assert int(status) == 0
        assert torch.equal(arena.cpu(), mine)
        torch.testing.assert_close(sums[0].cpu(), expected.sums_before, rtol=1e-12, atol=0)
        torch.testing.assert_close(sums[1].cpu(), expected.sums_after, rtol=1e-12, atol=0)
        for ours_now, theirs in zip(ours, weights, strict=True):
            assert torch.equal(ours_now.cpu(), theirs)
    k.fill_(plan.total)  # more than are left
    before = arena.clone()
    graph.replay()
    assert int(status) == -1
    assert torch.equal(arena, before)


def cpu_prune(plan, weights, arena, k):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "cpu")
        return tensors.prune(plan, weights, arena, k)


def test_a_replay_meets_nan_and_does_nothing(gpu_backend):
    plan, weights = tensors.model()
    ours = [w.cuda() for w in weights]
    arena, scratch = tensors.ones(plan).cuda(), tensors.ones(plan).cuda()
    workspace, k = ops.workspace(plan, "cuda"), torch.tensor(100, device="cuda")
    status = torch.empty(1, dtype=torch.int64, device="cuda")

    def prune():
        found = ops.topk_mask(plan, ours, arena, scratch, k, workspace)
        ops.commit(plan, ours, arena, scratch, found.status)
        status.copy_(found.status)

    graph = capture(prune)
    ours[0].fill_(float("nan"))
    before = arena.clone()
    graph.replay()
    alive = ops.bits.unpack(before[: -(-ours[0].numel() // 32)], ours[0].numel())
    assert int(status) == int(alive.sum())
    assert torch.equal(arena, before)
    assert ours[0].isnan().all()


def test_a_replay_outlives_the_plan(gpu_backend):
    *plans, weights = tensors.model()
    ours, arena = [w.cuda() for w in weights], tensors.ones(plans[0]).cuda()
    expected = ops.block_l1(plans[0], ours, arena)
    found = torch.empty_like(expected)
    graph = capture(lambda: found.copy_(ops.block_l1(plans[0], ours, arena)))
    plans.clear()
    gc.collect()
    torch.cuda.empty_cache()
    taken = [torch.full((n,), -1, dtype=torch.int64, device="cuda") for n in range(1, 2000)]
    found.zero_()
    graph.replay()
    assert torch.equal(found, expected)
    assert len(taken) == 1999


@every_op
def test_a_replay_follows_lr_and_found_inf(make, gpu_backend):
    case = make(torch.float32, found_inf=torch.zeros(1), grad_scale=torch.ones(1))
    if make is step_cases.sgd:
        case.options["first"] = torch.tensor(True)
    fresh = case.copy()
    ours = fresh.replaced(lambda t: t.cuda())
    options = {
        key: value.cuda() if isinstance(value, torch.Tensor) else value
        for key, value in fresh.options.items()
    }
    arena = case.arena().cuda()
    pristine = [[t.clone() for t in row] for row in ours.lists()]

    graph = capture(lambda: case.op(*ours.lists(), arena, case.words(), **options))
    for row, kept in zip(ours.lists(), pristine, strict=True):
        for tensor, value in zip(row, kept, strict=True):
            tensor.copy_(value)
    if make is step_cases.sgd:
        options["first"].fill_(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "cpu")
        for lr, found in ((0.1, 0.0), (0.1, 1.0), (0.01, 0.0)):
            options["lr"].fill_(lr)
            options["found_inf"].fill_(found)
            case.options["lr"], case.options["found_inf"] = torch.tensor(lr), torch.tensor([found])
            case.op(*case.lists(), case.arena(), case.words(), **case.options)
            graph.replay()
            for row, theirs in zip(ours.lists(), case.lists(), strict=True):
                for tensor, wanted in zip(row, theirs, strict=True):
                    torch.testing.assert_close(tensor.cpu(), wanted, rtol=1e-5, atol=1e-6)


def test_two_streams_select_at_the_same_time(gpu_backend):
    batch = cases.Batch(4, "float32", 2, cases.large_sizes, clean=True)
    held = TensorCases(batch, "cuda")
    streams = [torch.cuda.Stream() for _ in range(batch.cases)]
    torch.cuda.synchronize()
    found = []
    for _ in range(5):
        for case, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                plan = held.plan(case)
                words, scratch = held.words(held.mask, case), held.words(held.mask_out, case)
                weights = held.views(held.weights, case)
                work = ops.workspace(plan, "cuda")
                found.append(ops.topk_mask(plan, weights, words, scratch, held.k[case], work))
    torch.cuda.synchronize()
    assert all(int(f.status) == 0 for f in found)
    kept = torch.from_numpy(batch.arena(batch.kept).view("int32"))
    assert torch.equal(held.mask_out.cpu(), kept)
