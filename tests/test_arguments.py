"""Amounts: what is asked for in each scope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from library_cases import net, same_bits, snapshot

import impcore


@pytest.mark.parametrize(
    ("keywords", "phrase"),
    [
        ({"count": 5, "scope": "layerwise"}, r"must be a mapping .* got 5"),
        ({"count": {"fc.weight": 2.5}, "scope": "layerwise"}, r"integers >= 0, got \{"),
        ({"count": {"fc.weight": -1}, "scope": "layerwise"}, r"integers >= 0, got \{"),
        ({"count": {"fc.weight": True}, "scope": "layerwise"}, r"integers >= 0, got \{"),
        ({"count": {"fc.bias": 1}, "scope": "layerwise"}, r"'fc\.bias'.*there are: conv1\.weight"),
        ({"count": {"fc.weight": 1}}, r"count must be an integer >= 0, got \{"),
        ({"count": {"fc.weight": 1}, "scope": "random"}, r"count must be an integer >= 0"),
        ({"rate": 1.0, "scope": "layerwise"}, r"rate must be a number in \[0, 1\), got 1\.0"),
        ({"rate": np.False_}, r"rate must be a number in \[0, 1\), got np\.False_"),
        ({"rate": torch.tensor(False)}, r"rate must be a number in \[0, 1\), got tensor\(False\)"),
        ({"scope": "layerwise"}, "exactly one of rate and count"),
        ({"count": 1, "scope": "random", "seed": True}, "seed must be an integer, got True"),
    ],
)
def test_a_wrong_amount_is_refused(keywords: dict[str, object], phrase: str) -> None:
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match=phrase):
        impcore.prune_global(model, **keywords)
    assert same_bits(model, before)
    assert impcore.masks_of(model) is None


def test_an_amount_of_nothing_changes_nothing() -> None:
    model = net()
    before = snapshot(model)
    for keywords in ({"rate": 0.0}, {"count": {}}, {"count": {"fc.weight": 0}}):
        masks = impcore.prune_global(model, scope="layerwise", **keywords)
        assert masks.remaining == masks.total
    assert same_bits(model, before)
