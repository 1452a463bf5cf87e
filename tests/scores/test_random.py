from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from library_cases import PRUNABLE, net
from torch import nn

import impcore
from impcore.scores import random
from impcore.scores.random import draw


def test_scores_depend_on_seed_name_and_shape_alone() -> None:
    first = random(net(1), 5)
    assert list(first) == PRUNABLE
    model = net(2).half()
    impcore.Masks(model, exclude=["conv1.*"])
    torch.manual_seed(99)
    state = torch.get_rng_state()
    others = random(model, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(others) == PRUNABLE[1:]
    assert all(torch.equal(first[name], others[name]) for name in others)
    assert not torch.equal(random(model, 6)["fc.weight"], first["fc.weight"])


def test_they_are_uniform() -> None:
    scores = random(torch.nn.Linear(200, 200))["weight"]
    assert scores.dtype == torch.float32
    counts = torch.histc(scores, 10, 0, 1)
    assert float((counts - 4000).abs().max()) < 300  # five standard deviations


def test_the_default_dtype_does_not_matter() -> None:
    model = nn.Linear(5, 7)
    plain = random(model, seed=3)
    torch.set_default_dtype(torch.float64)
    try:
        again = random(model, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert again["weight"].dtype == torch.float32
    assert torch.equal(again["weight"], plain["weight"])


def test_each_name_has_draws_of_its_own_and_the_same_in_every_version() -> None:
    found = draw({"a": torch.zeros(3, 2), "b": torch.zeros(3, 2)}, 5)
    for name, score in found.items():
        key = hashlib.sha256(f"impcore scores 5 {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        assert torch.equal(score, torch.rand(3, 2, generator=generator))
    assert not torch.equal(found["a"], found["b"])


@pytest.mark.parametrize("seed", [np.int64(5), torch.tensor(5), torch.tensor([5])], ids=repr)
def test_a_seed_is_the_integer_that_it_holds(seed: object) -> None:
    drawn = random(net(1), seed)
    assert all(torch.equal(score, drawn[name]) for name, score in random(net(1), 5).items())
    for how in ({"score": "random"}, {"scope": "random"}):
        masks = [impcore.prune_global(net(1), 0.4, seed=given, **how) for given in (5, seed)]
        assert masks[0].hash == masks[1].hash


@pytest.mark.parametrize("seed", [5.0, "5", True, torch.tensor(True), torch.tensor(5.0)], ids=repr)
def test_a_seed_that_is_no_integer_is_refused_by_name(seed: object) -> None:
    with pytest.raises(ValueError, match=r"^seed: .* is not an integer$"):
        random(net(1), seed)
    with pytest.raises(ValueError, match=r"^seed must be an integer, got "):
        impcore.prune_global(net(1), 0.4, score="random", seed=seed)


def test_the_seed_is_0_unless_given() -> None:
    model = nn.Linear(5, 7)
    assert torch.equal(random(model)["weight"], random(model, 0)["weight"])
