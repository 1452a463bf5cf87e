from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from impcore.config import Config
from impcore.errors import ConfigError

from .strategies import recipes

Recipe = Callable[..., dict[str, dict[str, object]]]
Tables = dict[str, Any]


@pytest.fixture
def tasks(recipe: Recipe) -> Callable[..., Config]:
    """The config of an experiment over tasks: tasks(base tables={…}, tasks keys=…)."""

    def make(base: Tables | None = None, **keys: Any) -> Config:
        run = {"experiment": "tasks", "name": "all", "seed": 5}
        return Config.from_dict(recipe(run=run, tasks=keys, **(base or {})))

    return make


def test_a_run_is_the_recipe_with_its_entries_put_over_it(tasks: Callable[..., Config]) -> None:
    config = tasks(
        {"train": {"lr": 0.2, "momentum": 0.8}, "rewind": {"to": "2ep"}},
        pretrain={"data": {"name": "digits_rotation"}, "train": {"length": "4it"}},
        init={"random": {}, "pretrained": {"rewind": {"to": "pretrained"}}},
        task={"ten": {}, "two": {"data": {"name": "digits_parity"}, "train": {"lr": 0.1}}},
    )
    runs = config.sub_runs()
    assert list(runs) == [
        "pretrain",
        "random-ten",
        "pretrained-ten",
        "random-two",
        "pretrained-two",
    ]
    for name, run in runs.items():
        assert (run.run.name, run.run.out) == (name, f"runs/all/{name}")
        assert (run.run.experiment, run.run.seed, run.tasks) == ("imp", 5, None)
        assert run.train.momentum == 0.8
    assert [run.data.name for run in runs.values()] == [
        "digits_rotation", "digits", "digits", "digits_parity", "digits_parity",
    ]  # fmt: skip
    assert [run.train.lr for run in runs.values()] == [0.2, 0.2, 0.2, 0.1, 0.1]
    assert [run.rewind.to for run in runs.values()] == [
        "init", "2ep", "pretrained", "2ep", "pretrained",
    ]  # fmt: skip
    assert [run.prune.rounds for run in runs.values()] == [0, 3, 3, 3, 3]
    weights = "runs/all/pretrained.safetensors"
    assert [run.model.path for run in runs.values()] == [None, None, weights, None, weights]


def test_keys_of_a_choice_go_with_it_and_shared_ones_stay_unless_they_were_defaults(
    tasks: Callable[..., Config],
) -> None:
    base = {"train": {"momentum": 0.8, "milestones": ["50%"], "warmup": "10%"}}
    change = {"train": {"optimizer": "adamw", "schedule": "linear"}}
    runs = tasks(base, init={"random": {}}, task={"a": change, "b": {}}).sub_runs()
    a, b = runs["random-a"].train, runs["random-b"].train
    assert (a.momentum, a.milestones, a.gamma, a.warmup) == (None, None, None, "10%")
    assert (a.eps, a.lr_end) == (1e-8, 0.0)
    assert (b.momentum, b.milestones) == (0.8, ("50%",))
    onecycle = {"train": {"schedule": "onecycle"}}
    runs = tasks({"train": {"schedule": "cosine"}}, init={"random": {}}, task={"a": onecycle})
    assert (runs.sub_runs()["random-a"].train.lr_end) == 4e-6


def test_an_initialisation_may_name_weights_of_its_own(tasks: Callable[..., Config]) -> None:
    given = {"model": {"path": "given.safetensors"}}
    runs = tasks(
        init={"pretrained": given, "simclr": given, "random": {}}, task={"a": {}}
    ).sub_runs()
    assert [run.model.path for run in runs.values()] == ["given.safetensors"] * 2 + [None]


def test_an_entry_may_name_the_weights_that_say_the_sizes(tasks: Callable[..., Config]) -> None:
    base = {
        "model": {"arch": "bert"},
        "data": {"name": "mnli"},
        "rewind": {"to": "pretrained"},
    }
    given = {"model": {"path": "./bert"}}
    runs = tasks(
        base,
        pretrain={**given, "data": {"name": "wikitext"}},
        init={"pretrained": {}, "given": given},
        task={"mnli": {}, "prose": {"data": {"name": "prose_topic"}}},
    ).sub_runs()
    paths = [run.model.path for run in runs.values()]
    assert paths == ["./bert", *["runs/all/pretrained", "./bert"] * 2]
    tokenizers = [run.data.tokenizer for run in runs.values()]
    assert tokenizers == [None, "./bert", None, None, None]
    with pytest.raises(ConfigError, match=r"in run 'random-a': model\.path: missing: the weights"):
        tasks({**base, "rewind": {}}, pretrain=given, task={"a": {}})


BROKEN = [
    ({"task": {"a": {}}}, "tasks.init.pretrained: should have tasks.pretrain or a model.path"),
    ({"pretrain": {}, "task": {"a": {}}, "init": {"random": {}}}, "tasks.pretrain: is used by no"),
    (
        {"task": {"a": {}}, "init": {"imagenet": {}}},
        "tasks.init.imagenet.model.path: missing",
    ),
    (
        {"task": {"a": {}}, "init": {"random": {"model": {"path": "x"}}}},
        "tasks.init.random.model.path = 'x': random starts from no weights",
    ),
    (
        {"pretrain": {"prune": {"rounds": 3}}, "task": {"a": {}}},
        "tasks.pretrain.prune: pre-training has only model, data, train",
    ),
    (
        {"pretrain": {}, "task": {"a": {"run": {"seed": 3}}}},
        "tasks.task.a.run: [run] is the whole experiment's",
    ),
    (
        {
            "pretrain": {},
            "init": {"random": {"train": {"lr": 1.0}}, "pretrained": {}},
            "task": {"a": {"train": {"lr": 2.0}}},
        },
        "train.lr = 2.0: tasks.init.random and tasks.task.a both set it",
    ),
    (
        {
            "pretrain": {},
            "init": {"random": {}, "pretrained": {}, "random-a": {"model": {"path": "x"}}},
            "task": {"a-b": {}, "b": {}},
        },
        "tasks.task.b: two runs would be called 'random-a-b'",
    ),
    (
        {"pretrain": {}, "task": {"a": {"train": {"momentun": 0.5}}, "b": {}}},
        "in run 'random-a': train.momentun = 0.5: no such key; nearest: train.momentum",
    ),
    (
        {"pretrain": {"train": {"lr": float("nan")}}, "task": {"a": {}}},
        "in run 'pretrain': train.lr = nan: should be a finite number",
    ),
    (
        {"pretrain": {}, "task": {"a": {"rewind": {"to": "99ep"}}}},
        "in run 'random-a': rewind.to = '99ep': should be below train.length",
    ),
]


@pytest.mark.parametrize(("keys", "start"), BROKEN)
def test_a_broken_rule_is_one_line(tasks: Callable[..., Config], keys: Tables, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tasks(**keys)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(start)


def test_given_weights_belong_to_an_initialisation(tasks: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"model\.path = 'x': with run\.experiment"):
        tasks({"model": {"path": "x"}}, pretrain={}, task={"a": {}})


@given(recipes, recipes)
def test_what_is_written_reads_back_with_the_same_runs(base: Tables, other: Tables) -> None:
    """Random base tables, with the training and the data of another recipe put over them."""
    base["model"].pop("path", None)
    base.setdefault("run", {})["experiment"] = "tasks"
    part = {table: other[table] for table in ("train", "data")}
    tables = {"pretrain": part, "task": {"same": {}, "other": part}}
    try:
        config = Config.from_dict({**base, "tasks": tables})
    except ConfigError as error:
        assert all(line.startswith("in run '") for line in str(error).splitlines())  # noqa: PT017
        return
    again = Config.from_dict(tomllib.loads(config.to_toml()))
    assert again == config
    assert again.sub_runs() == config.sub_runs()
    for name, run in config.sub_runs().items():
        wanted = base if name.endswith("same") else part
        for table in ("train", "data"):
            found = run.model_dump()[table]
            for key, value in wanted[table].items():
                assert found[key] == (tuple(value) if isinstance(value, list) else value)
