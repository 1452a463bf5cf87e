"""What CUDA ops keep on the device from call to call."""

import torch

from impcore import ops
from impcore.ops.cuda import launch, tables


def test_the_order_of_a_plan_is_complete_before_it_is_kept(monkeypatch):
    """The call that made it may be on another stream than the next one that reads it."""
    plan = ops.Plan.make([100, 7, 40], [1, 0, 1])
    weights = [torch.ones(n) for n in plan.numels]
    arena = torch.zeros(plan.total_words, dtype=torch.int32)
    kept_before = []
    monkeypatch.setattr(
        launch, "finish", lambda device: kept_before.append(plan.chunks in tables._orders)
    )
    for _ in range(2):
        assert ops.block_l1(plan, weights, arena).tolist() == [[0, 0], [0, 0]]
    assert kept_before == [False]
    order, first = tables.block_order(plan.chunks, plan.num_blocks)
    assert (order.tolist(), first.tolist()) == ([1, 0, 2], [0, 1, 3])
