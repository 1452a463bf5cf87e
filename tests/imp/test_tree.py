from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.imp import tree

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
KEYS = st.text(max_size=4) | st.integers(0, 9)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=15,
)


@given(TREES)
def test_a_tree_comes_back_equal_through_json(state: object) -> None:
    split, tensors = tree.split(state, "x")
    assert tree.join(json.loads(json.dumps(split)), tensors) == state
    assert not tensors


@given(st.sampled_from(["$tensor", "$tuple", "$items", "$"]), LEAVES)
def test_a_key_that_looks_like_a_mark_is_kept(key: str, value: object) -> None:
    state = {"a": {key: value}}
    split, tensors = tree.split(state, "x")
    assert tree.join(json.loads(json.dumps(split)), tensors) == state


def test_an_optimisers_state_comes_back() -> None:
    parameter = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.AdamW([parameter], betas=(0.8, 0.9))
    parameter.grad = torch.ones(3)
    optimizer.step()
    split, tensors = tree.split(optimizer.state_dict(), "optimizer")
    state = tree.join(json.loads(json.dumps(split)), tensors)
    fresh = torch.optim.AdamW([parameter])
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["betas"] == (0.8, 0.9)
    saved = optimizer.state[parameter]
    assert all(torch.equal(saved[key], fresh.state[parameter][key]) for key in saved)
    assert all(name.startswith("optimizer.") for name in tensors)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a": [lambda: 0]}])
def test_anything_else_is_refused_by_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"x.*without pickle"):
        tree.split(value, "x")


def test_a_missing_tensor_is_an_error() -> None:
    split, _ = tree.split({"a": torch.zeros(1)}, "x")
    with pytest.raises(KeyError, match=r"x\.a"):
        tree.join(split, {})
