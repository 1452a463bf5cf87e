"""Packed masks against numpy.packbits and plain indexing."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impcore import ops
from impcore.errors import LayoutError
from impcore.ops import bits

from . import tensors

SIZES = [0, 1, 31, 32, 33, 65_535, 65_536, 65_537, 200_001]


def random_bools(size, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, size]).random(size) < 0.5)


@pytest.mark.parametrize("size", SIZES)
def test_pack_equals_packbits_and_unpack_inverts_it(size, backend):
    bools = random_bools(size)
    words = bits.pack(bools)
    want = np.packbits(bools.numpy(), bitorder="little")
    got = words.numpy().view(np.uint8)
    assert words.dtype == torch.int32
    assert words.numel() == -(-size // 32)
    assert np.array_equal(got[: want.size], want)
    assert not got[want.size :].any()  # padding
    assert torch.equal(bits.unpack(words, size), bools)


@pytest.mark.parametrize("size", SIZES)
def test_count(size, backend):
    bools = random_bools(size, 1)
    ones = bits.count(bits.pack(bools))
    assert ones.dtype == torch.int64
    assert ones.shape == ()
    assert ones == bools.sum()


@given(st.lists(st.sampled_from(SIZES), max_size=6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_counts_of_each_tensor(sizes, seed):
    plan = ops.Plan.make(sizes, [0] * len(sizes))
    bools = [random_bools(size, seed + i) for i, size in enumerate(sizes)]
    each = bits.counts(plan, tensors.pack([b.numpy() for b in bools]))
    assert each.dtype == torch.int64
    assert each.tolist() == [int(b.sum()) for b in bools]


def test_counts_on_every_backend(backend):
    plan = ops.Plan.make(SIZES)
    bools = [random_bools(size, 2) for size in SIZES]
    each = bits.counts(plan, tensors.pack([b.numpy() for b in bools]))
    assert each.tolist() == [int(b.sum()) for b in bools]
    assert bits.counts(ops.Plan.make([]), torch.zeros(0, dtype=torch.int32)).tolist() == []


def dense_strides(shape, order):
    strides = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        strides[dim] = step
        step *= shape[dim]
    return tuple(strides)


def permute_by_index(bools, shape, old, new):
    """Element by element, from the definition of a stride."""
    out = np.zeros(bools.size, dtype=bool)
    for index in itertools.product(*map(range, shape)):
        at = np.array(index, dtype=int)
        out[at @ new] = bools[at @ old]
    return out


@given(
    st.lists(st.integers(0, 6), max_size=4),
    st.randoms(use_true_random=False),
    st.integers(0, 2**32),
)
def test_permute_equals_moving_one_element_at_a_time(shape, random, seed):
    orders = [random.sample(range(len(shape)), len(shape)) for _ in range(2)]
    old, new = (dense_strides(shape, order) for order in orders)
    bools = np.random.default_rng(seed).random(int(np.prod(shape))) < 0.5
    words = bits.pack(torch.from_numpy(bools))
    moved = bits.permute(words, shape, old, new)
    want = permute_by_index(bools, shape, np.array(old, int), np.array(new, int))
    assert np.array_equal(bits.unpack(moved, bools.size).numpy(), want)
    assert torch.equal(bits.permute(moved, shape, new, old), words)


def test_permute_over_many_words(backend):
    """Several pieces, so that each thread has to find its place in the new order."""
    shape = (64, 48, 5, 7)
    mask = random_bools(64 * 48 * 35).view(shape)
    channels_last = torch.empty(shape, dtype=torch.bool).to(memory_format=torch.channels_last)
    channels_last.copy_(mask)
    words = bits.pack(mask.reshape(-1))
    moved = bits.permute(words, shape, mask.stride(), channels_last.stride())
    flat = channels_last.as_strided((mask.numel(),), (1,))
    assert torch.equal(bits.unpack(moved, mask.numel()), flat)


def test_dimensions_of_size_one_may_have_any_stride(backend):
    words = bits.pack(random_bools(6))
    assert torch.equal(bits.permute(words, (1, 6, 1), (99, 1, 3), (6, 1, 1)), words)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bits.pack(torch.ones(3)), TypeError, "torch.bool, not torch.float32"),
        (lambda: bits.pack(torch.ones(2, 2) > 0), ValueError, r"1-D and contiguous.*\(2, 2\)"),
        (lambda: bits.pack((torch.ones(8) > 0)[::2]), ValueError, "contiguous"),
        (lambda: bits.unpack(torch.ones(1).int(), 33), ValueError, "int32 tensor of 2 words"),
        (lambda: bits.unpack(torch.ones(1), 3), ValueError, "not torch.float32"),
        (
            lambda: bits.unpack(torch.ones(0).int(), -1),
            ValueError,
            "numel must not be negative, got -1",
        ),
        (lambda: bits.count(torch.ones(2, 2).int()), ValueError, r"\(2, 2\)"),
        (lambda: bits.counts(ops.Plan.make([40]), torch.zeros(1).int()), ValueError, r"words"),
        (lambda: bits.permute(torch.ones(1).int(), (4, 4), (4, 1), (1,)), ValueError, "1 strides"),
        (lambda: bits.permute(torch.ones(1).int(), (4,), (1,), (0,)), LayoutError, "new has"),
        (lambda: bits.permute(torch.ones(1).int(), (4, 2), (2, 1), (4, 1)), LayoutError, "new"),
        (lambda: bits.permute(torch.ones(1).int(), (2, 2), (1, 1), (2, 1)), LayoutError, "old"),
        (lambda: bits.permute(torch.ones(1).int(), (40,), (1,), (1,)), ValueError, "2 words"),
    ],
)
def test_rejections(call, error, message, backend):
    with pytest.raises(error, match=message):
        call()
