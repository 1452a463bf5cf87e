"""A chunk table is copied to a device once, and goes with its plan."""

import gc

import torch

from impcore import ops
from impcore.ops import placed


def test_a_table_that_is_there_already_is_not_copied():
    table = ops.Plan.make([100]).chunks
    assert placed.on(torch.device("cpu"), table) is table


def test_a_copy_is_made_once_and_does_not_outlive_its_plan():
    plan = ops.Plan.make([100, 0, 7])
    before = len(placed._copies)
    copy = placed.on(torch.device("meta"), plan.chunks)
    assert (copy.device.type, copy.shape, copy.dtype) == ("meta", (2, 5), torch.int64)
    assert placed.on(torch.device("meta"), plan.chunks) is copy
    assert len(placed._copies) == before + 1
    del plan
    gc.collect()
    assert len(placed._copies) == before
