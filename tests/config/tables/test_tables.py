from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from impcore.config import Config
from impcore.config.recipe import TABLES
from impcore.config.tables.data import TextName
from impcore.config.tables.model import TextArch
from impcore.errors import ConfigError

Recipe = Callable[..., dict[str, dict[str, object]]]


@pytest.mark.parametrize(
    ("key", "value"), [("train.milestones", ["1ep", 2]), ("prune.densities", [0.5, 1.0])]
)
def test_a_bad_element_is_named_by_its_place(recipe: Recipe, key: str, value: object) -> None:
    table, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"^{key}\[1\] = "):
        Config.from_dict(recipe(**{table: {name: value}}))


@pytest.mark.parametrize("key", ["model.arch", "data.name", "train.length", "prune.rounds"])
def test_a_missing_key_is_named(recipe: Recipe, key: str) -> None:
    table, name = key.split(".")
    raw = recipe()
    del raw[table][name]
    with pytest.raises(ConfigError, match=rf"^{key}: missing"):
        Config.from_dict(raw)


def test_a_whole_number_is_a_float_where_one_is_asked_for(recipe: Recipe) -> None:
    assert Config.from_dict(recipe(train={"lr": 1})).train.lr == 1.0


def test_every_key_has_its_help() -> None:
    for name, model in TABLES.items():
        for key, field in model.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_architectures_are_the_registered_ones() -> None:
    models = pytest.importorskip("impcore.models")
    named = set(get_args(TABLES["model"].model_fields["arch"].annotation))
    assert set(get_args(TextArch)) == set(models.TEXT_ARCHITECTURES)
    assert named - set(get_args(TextArch)) <= set(models.ARCHITECTURES)


def test_data_sets_are_the_registered_ones() -> None:
    data = pytest.importorskip("impcore.data")
    named = set(get_args(TABLES["data"].model_fields["name"].annotation))
    assert named == {*data.DATASETS, *data.TEXT_DATASETS}
    assert set(get_args(TextName)) == set(data.TEXT_DATASETS)
