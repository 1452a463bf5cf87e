"""A chunk table is copied to a device once, and goes with its plan; so does its order by block."""

import gc
import weakref

import torch

from impcore import ops
from impcore.ops import chunk_table


def test_a_table_that_is_there_already_is_not_copied():
    table = ops.Plan.make([100]).chunks
    assert chunk_table.on(torch.device("cpu"), table) is table


def test_a_copy_is_made_once_and_does_not_outlive_its_plan():
    plan = ops.Plan.make([100, 0, 7])
    before = len(chunk_table._copies)
    copy = chunk_table.on(torch.device("meta"), plan.chunks)
    assert (copy.device.type, copy.shape, copy.dtype) == ("meta", (2, 5), torch.int64)
    assert chunk_table.on(torch.device("meta"), plan.chunks) is copy
    assert len(chunk_table._copies) == before + 1
    del plan
    gc.collect()
    assert len(chunk_table._copies) == before


def test_what_a_graph_reads_outlives_the_plan_and_is_kept_once(monkeypatch):
    monkeypatch.setattr(chunk_table, "_captured", {})
    plan = ops.Plan.make([100, 0, 7])
    meta = torch.device("meta")
    table = weakref.ref(chunk_table.on(meta, plan.chunks))
    chunk_table._orders[table()] = order = (torch.arange(2), torch.arange(4))
    monkeypatch.setattr(chunk_table, "_capturing", lambda device: device.type == "meta")
    for _ in range(3):
        chunk_table.on(meta, plan.chunks)
        chunk_table.on(torch.device("cpu"), plan.chunks)
    del plan
    gc.collect()
    assert [id(table()), *chunk_table._captured] == [id(table())] * 2
    assert chunk_table.by_block(table(), 3) is order
    chunk_table._captured.clear()
    gc.collect()
    assert table() is None


def test_chunks_by_block_keep_their_order_and_are_sorted_once():
    plan = ops.Plan.make([100, 70_000, 7, 0, 5], [2, 0, 2, 1, 0])
    order, first = chunk_table.by_block(plan.chunks, 4)
    assert order.tolist() == [1, 2, 4, 0, 3]
    assert first.tolist() == [0, 3, 3, 5, 5]
    assert chunk_table.by_block(plan.chunks, 4)[0] is order


def test_chunks_by_block_are_complete_before_they_are_kept(monkeypatch):
    """The call that made them may be on another stream than the next one that reads them."""
    plan = ops.Plan.make([100, 7, 40], [1, 0, 1])
    kept_before = []
    orders = chunk_table._orders
    monkeypatch.setattr(
        chunk_table, "_finish", lambda device: kept_before.append(plan.chunks in orders)
    )
    for _ in range(2):
        chunk_table.by_block(plan.chunks, plan.num_blocks)
    assert kept_before == [False]
