from __future__ import annotations

from pathlib import Path

import pytest

from impcore.config import load, split_entries
from impcore.errors import ConfigError

RECIPE = """
[run]
experiment = "tasks"
[model]
arch = "resnet20"
[data]
name = "digits"
[train]
length = "9it"
milestones = ["5it", "7it"]
[prune]
rounds = 1
rate = 0.2
[tasks.pretrain]
train.length = "8it"
[tasks.task.two]
data.name = "digits_parity"
[tasks.task."v1.0"]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "several.toml"
    path.write_text(RECIPE)
    return path


def test_the_other_words_are_left_in_order() -> None:
    words = "a.toml --tasks.task.two.train.lr 0.5 --run.seed 3 --tasks.about=x=y --check"
    rest, part = split_entries(words.split())
    assert rest == ["a.toml", "--run.seed", "3", "--check"]
    assert part == {"task": {"two": {"train": {"lr": 0.5}}}, "about": "x=y"}


def test_entries_are_put_over_key_by_key(recipe: Path) -> None:
    words = (
        "--tasks.task.two.train.milestones 2it 4it --tasks.task.two.train.batch-size 7 "
        "--tasks.task.v1.0.train.nesterov true --tasks.pretrain.train.lr 1e-3 "
        "--tasks.init.pretrained.rewind.to pretrained"
    )
    rest, part = split_entries(words.split())
    assert rest == []
    runs = load(recipe, {"tasks": part}).sub_runs()
    two, other = runs["random-two"], runs["random-v1.0"]
    assert (two.train.milestones, two.train.batch_size) == (("2it", "4it"), 7)
    assert (two.data.name, two.train.nesterov, other.train.nesterov) == (
        "digits_parity", False, True,
    )  # fmt: skip
    pretraining = runs["pretrain"].train
    assert (pretraining.length, pretraining.lr) == ("8it", 1e-3)
    assert runs["pretrained-two"].rewind.to == "pretrained"
    assert two.rewind.to == "init"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--tasks.task.two.train.lr", r"--tasks\.task\.two\.train\.lr: has no value"),
        ("--tasks.task.two.train.lr --check", "has no value"),
        ("--tasks.task.lr 3", r"no such option; there are --tasks\.task\.NAME\.TABLE\.KEY"),
        ("--tasks.taks.two.train.lr 3", "no such option"),
        ("--tasks.about.x 3", "no such option"),
        ("--tasks.task.two.train.lrr 3", r"train\.lrr: no such key; nearest: train\.lr"),
        ("--tasks.task.two.trian.lr 3", "nearest: train"),
        ("--tasks.task.two.train.clip_norm none", "an entry cannot take a value away"),
    ],
)
def test_what_is_no_entrys_key_is_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_entries(words.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--tasks.task.tow.train.lr 3", r"tasks\.task\.tow: the recipe has no such.*nearest: two"),
        ("--tasks.init.mine.train.lr 3", "tasks.init.mine: the recipe has no such entry"),
        ("--tasks.task.two.train.lr x", "in run 'random-two': train.lr = 'x': should be a"),
        ("--tasks.task.two.run.seed 3", r"tasks\.task\.two\.run: \[run\] is the whole"),
    ],
)
def test_what_the_recipe_does_not_have_is_a_fault(recipe: Path, words: str, message: str) -> None:
    _, part = split_entries(words.split())
    with pytest.raises(ConfigError, match=message):
        load(recipe, {"tasks": part})


def test_a_recipe_without_tasks_has_no_entries() -> None:
    _, part = split_entries(["--tasks.about", "x"])
    with pytest.raises(ConfigError, match="tasks: the recipe has no such table"):
        load("digits", {"tasks": part})
