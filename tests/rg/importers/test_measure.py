"""Measuring a run: one state in memory at a time, and states that belong together."""

from __future__ import annotations

import math
import sys
import weakref

import numpy as np
import pytest
import torch

from impcore.errors import CheckpointError
from impcore.rg.importers import blocks
from impcore.rg.importers.measure import Masked, State, measure


def by_tensor(names):
    return blocks.by_name(names, "tensor")


def test_one_state_is_in_memory_at_a_time():
    alive = weakref.WeakSet()

    def loader(n):
        def load():
            assert len(alive) == 0  # the last one is gone before the next is loaded
            weight = torch.ones(100)
            alive.add(weight)
            mask = torch.arange(100) >= 10 * n
            return State(str(n), ("w",), lambda name: Masked(weight, mask))

        return load

    flow = measure(map(loader, range(5)), by_tensor)
    assert flow.remaining == (100, 90, 80, 70, 60)
    np.testing.assert_array_equal(flow.M, np.ones((5, 1)))


def states(*tensors):
    """States of one tensor "w" each, given as (weight, mask)."""
    return [
        lambda n=n, one=one: State(f"state {n}", ("w",), lambda name: Masked(*one))
        for n, one in enumerate(tensors)
    ]


ONES, HALF = torch.ones(4), torch.tensor([1.0, 1.0, 0.0, 0.0])


def test_masks_alone_give_p():
    flow = measure(states((None, ONES), (None, HALF)), by_tensor)
    assert flow.M is None
    assert flow.remaining == (4, 2)
    assert math.isnan(flow.recorded[0]["accuracy"])


def test_it_tells_of_each_state_and_how_long_the_rest_takes(monkeypatch):
    seconds = iter([0.0, 0.0, 30.0, 90.0])
    monkeypatch.setattr(sys.modules[measure.__module__], "monotonic", lambda: next(seconds))
    told = []
    one = torch.tensor([1.0, 0.0, 0.0, 0.0])
    measure(states((ONES, ONES), (ONES, HALF), (ONES, one)), by_tensor, told.append)
    assert told == [
        "measuring state 1 of 3",
        "measuring state 2 of 3, about 1 min 0 s left",
        "measuring state 3 of 3, about 45.0 s left",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (states(), "no complete state"),
        (states((ONES, None), (ONES, ONES)), "4 weights remain, 4 in state 0 before it"),
        (states((ONES, HALF), (ONES, ONES)), "states must get sparser"),
        (states((ONES, None), (torch.ones(5), None)), "w has 5 elements, 4 before"),
        (states((ONES, torch.ones(2, 2))), r"w has shape \[4\], its mask \[2, 2\]"),
        (states((None, None)), "w has neither weight nor mask"),
        (states((ONES, 0 * ONES)), "no weight remains"),
        (states((ONES.int(), None)), "state 0: w must be floating point, not torch.int32"),
        (
            [
                *states((ONES, None)),
                lambda: State("other", ("v",), lambda name: Masked(ONES, HALF)),
            ],
            r"other: other prunable tensors than before: \['v', 'w'\]",
        ),
    ],
)
def test_states_that_make_no_flow_are_named(given, message):
    with pytest.raises(CheckpointError, match=message):
        measure(given, by_tensor)
