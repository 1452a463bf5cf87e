from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

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


HUB = "google/bert_uncased_L-2_H-128_A-2"


def text_recipe(path: str, tokenizer: str | None = None, **model: object) -> Config:
    data = {"name": "mnli"} | ({} if tokenizer is None else {"tokenizer": tokenizer})
    return Config.from_dict(
        {
            "run": {"name": "x"},
            "model": {"arch": "bert", "path": path, **model},
            "data": data,
            "train": {"length": "2it", "batch_size": 4, "optimizer": "adamw"},
            "prune": {"rounds": 1},
        }
    )


def portable(config: Config) -> Config:
    made = Config.from_dict(tomllib.loads(config.portable()))
    assert made.fingerprint() == config.fingerprint()
    return made


def test_a_name_on_the_hub_is_portable_and_a_place_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        HUB: HUB,
        "bert-base-uncased": "bert-base-uncased",
        "./bert/base": "base",
        "~/bert": "bert",
        "/models/google/bert": "bert",
        "models/google/bert": "bert",
        "../bert": "bert",
        ".": tmp_path.name,
    }
    for place, kept in cases.items():
        made = portable(text_recipe(place, tokenizer=place))
        assert (made.model.path, made.data.tokenizer) == (kept, kept), place
    (tmp_path / HUB).mkdir(parents=True)
    here = portable(text_recipe(HUB, tokenizer=HUB))
    assert here.model.path == here.data.tokenizer == HUB.partition("/")[2]


def test_another_tokenizer_is_another_run_and_another_place_of_it_is_not() -> None:
    first = text_recipe(HUB, tokenizer="./here/cased")
    assert first.diff(text_recipe(HUB, tokenizer="/there/cased")) == []
    assert first.diff(text_recipe(HUB, tokenizer="./here/uncased")) == [
        'data.tokenizer: "cased" -> "uncased"'
    ]


def test_weights_of_given_sizes_are_a_file_and_never_on_the_hub() -> None:
    sizes = {"hidden_size": 8, "layers": 1, "heads": 2, "intermediate_size": 8}
    made = portable(text_recipe("runs/pretrained.safetensors", tokenizer=HUB, **sizes))
    assert (made.model.path, made.data.tokenizer) == ("pretrained.safetensors", HUB)


def test_frozen(recipe: Recipe) -> None:
    config = Config.from_dict(recipe())
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.train.lr = 1.0  # type: ignore[misc]


def test_rules_hold_through_pydantic_too(recipe: Recipe) -> None:
    raw = {**recipe(rewind={"to": "11ep"}), "run": {}, "analysis": {}}
    with pytest.raises(pydantic.ValidationError, match=r"rewind\.to = '11ep'"):
        Config.model_validate(raw)


def test_values_of_another_type_are_told_what_toml_would_have(recipe: Recipe) -> None:
    raw = recipe(
        train={"length": 12, "milestones": "6it", "warmup": ["1ep"], "eval_every": True},
        prune={"include": "conv"},
        rewind={"to": 0},
    )
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(raw)
    assert str(caught.value).splitlines() == [
        "train.length = 12: should be a length like '160ep' or '5000it'",
        "train.milestones = '6it': should be a list",
        "train.warmup = ['1ep']: should be a length like '160ep', '5000it' or '5%'",
        "train.eval_every = true: should be a length like '160ep' or '5000it'",
        "prune.include = 'conv': should be a list",
        "rewind.to = 0: should be a length like '160ep', '5000it' or '5%', or 'init', "
        "or 'pretrained'",
    ]
    with pytest.raises(ConfigError, match=r"train\.milestones\[1\] = 6: should be a length like"):
        Config.from_dict(recipe(train={"milestones": ["4it", 6]}))


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
