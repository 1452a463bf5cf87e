from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from impcore.config import Config
from impcore.errors import ConfigError

Recipe = Callable[..., dict[str, dict[str, object]]]
TASKS = {"pretrain": {}, "task": {"a": {"data": {"name": "digits_parity"}}}}


def test_written_and_read_back(recipe: Recipe) -> None:
    config = Config.from_dict(recipe(run={"experiment": "tasks"}, tasks=TASKS))
    again = Config.from_dict(tomllib.loads(config.to_toml()))
    assert again == config
    assert hash(again) == hash(config)
    assert again.fingerprint() == config.fingerprint()
    other = Config.from_dict(
        recipe(run={"experiment": "tasks"}, tasks={**TASKS, "task": {"b": {}}})
    )
    assert other.fingerprint() != config.fingerprint()
    assert [line.partition(":")[0] for line in config.diff(other)] == ["tasks.task"]


@pytest.mark.parametrize(
    ("tasks", "line"),
    [
        ({}, "tasks.task: missing"),
        ({"task": {}}, "tasks.task = {}: should have at least 1 entries"),
        ({"task": {"../x": {}}}, "tasks.task.../x"),
        ({"task": {"a": {"name": "digits"}}}, "tasks.task.a.name = 'digits': should be a table"),
        ({"task": {"a": 3}}, "tasks.task.a = 3: should be a table"),
        ({"task": {"a": {}}, "init": {}}, "tasks.init = {}: should have at least 1"),
        ({"task": {"a": {}}, "pretrian": {}}, "tasks.pretrian = {}: no such key; nearest: "),
        ({"task": {"a": {}}, "about": ""}, "tasks.about = ''"),
    ],
)
def test_a_bad_value_is_one_line_with_its_key(recipe: Recipe, tasks: dict, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(recipe(run={"experiment": "tasks"}, tasks=tasks))
    lines = str(caught.value).splitlines()
    assert [line] == [found[: len(line)] for found in lines]


def test_the_table_and_the_experiment_belong_together(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match=r'^tasks: needs run\.experiment = "tasks"$'):
        Config.from_dict(recipe(tasks=TASKS))
    with pytest.raises(ConfigError, match=r'^tasks: missing, and run\.experiment = "tasks" needs'):
        Config.from_dict(recipe(run={"experiment": "tasks"}))
