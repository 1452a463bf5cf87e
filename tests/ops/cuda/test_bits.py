"""Packed masks by the CUDA kernels."""

import numpy as np
import pytest
import torch

from impcore.ops import bits

from ..test_bits import (
    test_counts_of_each_tensor,
    test_permute_equals_moving_one_element_at_a_time,
)

__all__ = [  # collected here too
    "test_counts_of_each_tensor",
    "test_permute_equals_moving_one_element_at_a_time",
]


@pytest.mark.parametrize("shift", [0, 1, 8, 16])
def test_bools_anywhere_in_memory(shift):
    """Read 16 at once where that is possible, one by one elsewhere."""
    bools = torch.from_numpy(np.random.default_rng(shift).random(1000 + shift) < 0.5)[shift:]
    words = bits.pack(bools)
    want = np.packbits(bools.numpy(), bitorder="little")
    assert np.array_equal(words.numpy().view(np.uint8)[: want.size], want)
    assert torch.equal(bits.unpack(words, 1000), bools)


def test_any_byte_but_0_is_true():
    """Bools are bytes, and a view of other bytes as bools keeps them."""
    raw = torch.arange(256, dtype=torch.uint8).repeat(3)
    words = bits.pack(raw.view(torch.bool))
    assert torch.equal(bits.unpack(words, raw.numel()), raw != 0)


def test_count_over_many_blocks_of_threads():
    words = torch.randint(-(2**31), 2**31, (300_000,), dtype=torch.int32)
    want = int(np.unpackbits(words.numpy().view(np.uint8)).sum())
    assert int(bits.count(words)) == want
