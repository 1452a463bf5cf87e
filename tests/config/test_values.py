from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from impcore.config import load, typed


def test_texts_become_what_their_keys_ask_for() -> None:
    texts = {
        "run": {"seed": "7", "name": "3"},
        "train": {"lr": "1e-3", "nesterov": "true", "milestones": ("1ep", "2ep"), "warmup": "none"},
        "prune": {"densities": ("0.5", "0.1"), "include": ("none",), "exclude": ("a.*", "3")},
        "model": {"path": "none"},
    }
    assert typed(texts) == {
        "run": {"seed": 7, "name": "3"},
        "train": {"lr": 0.001, "nesterov": True, "milestones": ["1ep", "2ep"], "warmup": None},
        "prune": {"densities": [0.5, 0.1], "include": None, "exclude": ["a.*", "3"]},
        "model": {"path": None},
    }


def test_texts_that_are_no_such_value_stay() -> None:
    texts = {"run": {"seed": "7.0", "threads": "none"}, "train": {"lr": "x", "nesterov": "1"}}
    assert typed(texts) == texts


@given(st.floats(0.001, 0.999), st.integers(0, 2**32 - 1), st.booleans())
def test_an_override_equals_the_same_value_in_the_file(
    rate: float, seed: int, nesterov: bool
) -> None:
    values = {"prune": {"rate": rate}, "run": {"seed": seed}, "train": {"nesterov": nesterov}}
    texts = {table: {k: str(v).lower() for k, v in keys.items()} for table, keys in values.items()}
    assert load("digits", typed(texts)) == load("digits", values)
