from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pydantic
import pytest
from hypothesis import given

from impcore.config import Config
from impcore.config.tables.model import SIZES
from impcore.errors import ConfigError

from .strategies import recipes

Recipe = Callable[..., dict[str, dict[str, object]]]


@given(recipes)
def test_toml_loads_back_as_an_equal_config(raw: dict[str, object]) -> None:
    config = Config.from_dict(raw)
    again = Config.from_dict(tomllib.loads(config.to_toml()))
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert hash(again) == hash(config)


@given(recipes, recipes)
def test_the_fingerprint_differs_exactly_if_the_diff_says_so(one: dict, two: dict) -> None:
    first, second = Config.from_dict(one), Config.from_dict(two)
    assert (first.fingerprint() == second.fingerprint()) == (first.diff(second) == [])
    assert len(first.diff(second)) == len(second.diff(first))


def test_the_toml_has_every_default(recipe: Recipe) -> None:
    document = tomllib.loads(Config.from_dict(recipe()).to_toml())
    written = {f"{table}.{key}" for table, keys in document.items() for key in keys}
    without_value = {
        key for key, value in Config.from_dict(recipe()).flat().items() if value is None
    }
    assert written == set(Config.from_dict(recipe()).flat()) - without_value
    assert without_value == {
        "model.bn_gamma", "model.path", "data.root", "data.cache", "data.image_size",
        "train.warmup", "prune.include",
        "prune.exclude", "rewind.length", "train.betas", "train.eps", "train.lr_end",
        "train.lr_span", "train.clip_norm", "train.ema", "train.eval_every",
        "train.checkpoint_every", "prune.max_drop",
        "prune.score_batches", "prune.score_temperature",
        "data.source", "data.tokenizer", "data.max_length", "data.doc_stride",
        *(f"model.{key}" for key in SIZES),
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"run": {"name": "x"}},
        {"run": {"out": "elsewhere"}},
        {"run": {"tensorboard": True}},
        {"data": {"root": "/data"}},
        {"train": {"checkpoint_every": "2ep"}},
    ],
)
def test_names_and_places_change_no_result(recipe: Recipe, change: dict) -> None:
    first, second = Config.from_dict(recipe()), Config.from_dict(recipe(**change))
    assert first != second
    assert first.fingerprint() == second.fingerprint()


def test_diff_names_the_key_and_both_values(recipe: Recipe) -> None:
    here = Config.from_dict(recipe(run={"threads": 2}))
    there = Config.from_dict(recipe(train={"warmup": "1ep", "lr": 0.2}))
    assert here.diff(there) == [
        "run.threads: 2 -> 0",
        "train.lr: 0.1 -> 0.2",
        'train.warmup: null -> "1ep"',
    ]


def test_the_fingerprint_is_the_same_in_another_process(recipe: Recipe) -> None:
    code = (
        "import sys; from impcore.config import Config;"
        f"print(Config.from_dict({recipe()!r}).fingerprint())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == Config.from_dict(recipe()).fingerprint()


def test_the_run_directory_follows_the_name_unless_given(recipe: Recipe) -> None:
    assert Config.from_dict(recipe(run={"name": "a"})).run.out == "runs/a"
    assert Config.from_dict(recipe(run={"name": "a", "out": "/b"})).run.out == "/b"
    home = os.path.expanduser("~")
    assert Config.from_dict(recipe(run={"out": "~/b"})).run.out == f"{home}/b"


def test_frozen(recipe: Recipe) -> None:
    config = Config.from_dict(recipe())
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.train.lr = 1.0  # type: ignore[misc]


def test_rules_hold_through_pydantic_too(recipe: Recipe) -> None:
    raw = {**recipe(rewind={"to": "11ep"}), "run": {}, "analysis": {}}
    with pytest.raises(pydantic.ValidationError, match=r"rewind\.to = '11ep'"):
        Config.model_validate(raw)


def test_every_fault_at_once_a_line_each(recipe: Recipe) -> None:
    raw = recipe(
        run={"sed": 3}, train={"lr": float("nan")}, prune={"rate": "0.2"}, rewind={"to": "10ep"}
    )
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(raw | {"prun": {}})
    assert str(caught.value).splitlines() == [
        "prun = {}: no such table; nearest: prune",
        "run.sed = 3: no such key; nearest: run.seed",
        "train.lr = nan: should be a finite number",
        "prune.rate = '0.2': should be a valid number",
    ]
    with pytest.raises(ConfigError, match=r"rewind\.to = '10ep': should be below train\.length"):
        Config.from_dict(recipe(rewind={"to": "10ep"}))
