from __future__ import annotations

import hashlib
from itertools import pairwise

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


def test_the_key_of_an_epoch_is_the_same_in_every_version() -> None:
    digest = hashlib.sha256(b"impcore batches 3 5").digest()
    seed = int.from_bytes(digest[:8], "little") >> 1
    assert order.epoch_generator(3, 5).initial_seed() == seed
