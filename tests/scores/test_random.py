from __future__ import annotations

import hashlib

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


def test_the_seed_is_0_unless_given() -> None:
    model = nn.Linear(5, 7)
    assert torch.equal(random(model)["weight"], random(model, 0)["weight"])
