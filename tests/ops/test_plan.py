"""The chunk table: covers every element once, from word boundaries on."""

import pickle
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from impcore.ops import Plan

from . import cases

numels = st.lists(st.sampled_from([0, 1, 31, 32, 33, 65_535, 65_536, 65_537, 400_000]), max_size=6)


@given(numels, st.data())
def test_a_plan_follows_its_contract(sizes, data):
    blocks = [data.draw(st.integers(0, 4)) for _ in sizes]
    plan = Plan.make(sizes, blocks)
    words = [0]
    for size in sizes:
        words.append(words[-1] + -(-size // 32))
    assert (plan.numels, plan.blocks) == (tuple(sizes), tuple(blocks))
    assert (plan.words, plan.total_words) == (tuple(words[:-1]), words[-1])
    assert plan.total == sum(sizes)
    assert plan.num_blocks == max(blocks, default=-1) + 1
    assert plan.chunks.dtype == torch.int64
    assert plan.chunks.tolist() == cases.chunk_table(sizes, words[:-1], blocks).tolist()


def test_each_tensor_is_a_block_by_default():
    plan = Plan.make([3, 0, 5])
    assert plan.blocks == (0, 1, 2)
    assert plan.with_blocks([1, 1, 0]).blocks == (1, 1, 0)
    assert plan.blocks == (0, 1, 2)


def test_more_than_2_to_the_32_elements():
    sizes = [2**31 + 1, 2**32 + 1000]
    plan = Plan.make(sizes)
    assert plan.total_words == 2**26 + 1 + 2**27 + 32
    assert plan.chunks[:, 2].sum() == sum(sizes)
    tensor, offset, length, word, block = plan.chunks[-1].tolist()
    assert (tensor, offset + length, block) == (1, sizes[1], 1)
    assert word == plan.words[1] + offset // 32


@pytest.mark.parametrize(
    ("sizes", "blocks", "message"),
    [
        ([3, -1], None, "numels must not be negative, got -1"),
        ([3, 3], [0], r"blocks must name a block >= 0 for each of 2 tensors, got \[0\]"),
        ([3], [-1], r"got \[-1\]"),
    ],
)
def test_rejections(sizes, blocks, message):
    with pytest.raises(ValueError, match=message):
        Plan.make(sizes, blocks)


def test_a_plan_cannot_be_changed():
    with pytest.raises(AttributeError):
        Plan.make([1]).total_words = 5


@given(numels)
def test_a_tensors_own_plan_fits_its_span_of_the_arena(sizes):
    plan = Plan.make(sizes)
    assert [n for own in plan.single for n in own.numels] == sizes
    assert [own.total_words for own in plan.single] == [s.stop - s.start for s in plan.spans]
    assert [s.start for s in plan.spans] == list(plan.words)


@given(numels, st.data())
def test_a_part_keeps_the_words_of_its_tensors(sizes, data):
    plan = Plan.make(sizes)
    some = tuple(i for i in range(len(sizes)) if data.draw(st.booleans()))
    part = plan.part(some)
    assert part is plan.part(some)
    assert (part is plan) == (len(some) == len(sizes))
    assert part.numels == tuple(sizes[i] for i in some)
    assert part.total_words == plan.total_words
    whole = [row for row in plan.chunks.tolist() if row[0] in some]
    assert [[some[tensor], *rest] for tensor, *rest in part.chunks.tolist()] == whole


def test_of_parts_without_end_the_last_are_kept():
    plan = Plan.make([40] * 8)
    halves = list(combinations(range(8), 4))
    for half in halves:
        last = plan.part(half)
    assert len(plan._parts) == 2 * 16 < len(halves)
    assert plan.part(halves[-1]) is last
    ones = [plan.part((i,)) for i in range(8)]
    assert all(plan.part((i,)) is one for i, one in enumerate(ones))


def test_parts_are_not_saved():
    plan = Plan.make([40, 40])
    before = pickle.dumps(plan)
    part = plan.part((1,))
    assert pickle.dumps(plan) == before
    assert pickle.loads(before).part((1,)).chunks.tolist() == part.chunks.tolist()


def test_a_fake_mode_leaves_no_fake_part_behind():
    plan = Plan.make([40, 40])
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with mode, pytest.raises(NotImplementedError, match="FakeTensorMode"):
        plan.part((1,))
    assert plan.part((1,)).chunks.tolist() == [[0, 0, 40, 2, 1]]
