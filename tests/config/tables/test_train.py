from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from impcore.config import Config, Train

Recipe = Callable[..., dict[str, dict[str, object]]]
Refuse = Callable[[str, object], None]

REFUSED = [
    ("train.length", "5%"), ("train.length", 160), ("train.length", "init"),
    ("train.batch_size", 0), ("train.batch_size", 64.0), ("train.batch_size", "64"),
    ("train.lr", 0), ("train.lr", -0.1), ("train.lr", True), ("train.lr", float("inf")),
    ("train.lr", float("nan")), ("train.lr", float("1e999")), ("train.lr", 10**400),
    ("train.momentum", 1), ("train.momentum", -0.1), ("train.weight_decay", 1.0),
    ("train.nesterov", 1), ("train.nesterov", "true"), ("train.milestones", "80ep"),
    ("train.gamma", 0.0), ("train.gamma", 1.5), ("train.warmup", "0ep"), ("train.amp", "fp8"),
    ("train.checkpoint_every", "5%"), ("train.optimizer", "adam"),
    ("train.optimizer", ["sgd"]), ("train.optimizer", None), ("train.schedule", "step"),
    ("train.betas", [0.9]), ("train.betas", [0.9, 0.99, 0.999]), ("train.betas", 0.9),
    ("train.eval_every", "5%"), ("train.eval_every", 1),
    ("train.compile", 1), ("train.cuda_graph", True), ("train.cuda_graph", "yes"),
    ("train.ema", 0), ("train.ema", 1), ("train.accumulate", 0), ("train.accumulate", 2.0),
    ("train.label_smoothing", 1),
    ("train.label_smoothing", -0.1), ("train.clip_norm", 0), ("train.clip_norm", float("inf")),
    ("train.eps", 0), ("train.eps", float("nan")), ("train.lr_end", -0.1), ("train.lr_end", 1.1),
    ("train.lr_end", True), ("train.lr_span", "rounds"), ("train.lr_span", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)


def test_a_choice_brings_its_own_defaults_and_no_others(recipe: Recipe) -> None:
    train = Config.from_dict(recipe(train={"optimizer": "adamw", "schedule": "cosine"})).train
    assert (train.betas, train.eps, train.momentum, train.nesterov) == (
        (0.9, 0.999),
        1e-8,
        None,
        None,
    )
    assert (train.lr_end, train.lr_span, train.milestones, train.gamma) == (
        0.0,
        "round",
        None,
        None,
    )
    assert train.options_of("optimizer") == {"betas": (0.9, 0.999), "eps": 1e-8}
    given = Config.from_dict(recipe(train={"schedule": "onecycle", "warmup": "1ep"})).train
    assert (given.warmup, given.lr_end) == ("1ep", 4e-6)
    assert Config.from_dict(recipe(train={"schedule": "onecycle"})).train.warmup == "30%"


@pytest.mark.parametrize("key", list(Train.OPTIONS))
def test_every_choice_has_its_options(key: str) -> None:
    assert set(get_args(Train.model_fields[key].annotation)) == set(Train.OPTIONS[key])
    for options in Train.OPTIONS[key].values():
        assert set(options) <= set(Train.model_fields)
