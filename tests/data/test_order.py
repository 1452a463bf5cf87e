from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.data import order


@given(st.integers(1, 200), st.integers(1, 60), st.booleans())
def test_batches_partition_what_is_not_dropped(count: int, size: int, drop: bool) -> None:
    starts = order.batch_starts(count, size, drop)
    sizes = [end - start for start, end in pairwise(starts)]
    assert starts[0] == 0
    assert starts[-1] == (count - count % size if drop else count)
    assert all(n == size for n in sizes[:-1])
    assert not sizes or sizes[-1] <= size + 1


def test_a_generator_is_a_function_of_its_key() -> None:
    drawn = {
        tuple(torch.randperm(30, generator=order.epoch_generator(seed, epoch)).tolist())
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    }
    assert len(drawn) == 3


@pytest.mark.parametrize(
    ("epoch", "step", "message"),
    [(-1, 0, "epoch: -1"), (0, True, "start_step: True"), (0, 5, "beyond the 4 steps")],
)
def test_no_place_in_an_epoch(epoch: int, step: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order.check_place(epoch, step, 4)
