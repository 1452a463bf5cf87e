from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from impcore.config import Config
from impcore.config.recipe import TABLES
from impcore.errors import ConfigError

Recipe = Callable[..., dict[str, dict[str, object]]]

REFUSED = [
    ("run.name", "../x"), ("run.name", ".."), ("run.name", ".hidden"), ("run.name", "a/b"),
    ("run.name", ""), ("run.name", "a\\b"), ("run.name", "x\n"), ("run.name", "n" * 101),
    ("run.out", ""), ("run.out", "a/../b"), ("run.out", "a\0b"), ("run.out", 3),
    ("run.seed", -1), ("run.seed", 2**32), ("run.seed", 1.0), ("run.seed", True),
    ("run.seed", 10**400), ("run.threads", 1025), ("run.device", "gpu"), ("run.device", "cuda:0"),
    ("run.experiment", "os.system"), ("model.arch", "torchvision.models.resnet18"),
    ("model.arch", ["resnet20"]), ("model.stem", None), ("model.path", ""),
    ("data.name", "../cifar10"), ("data.augment", True), ("data.root", 1),
    ("train.length", "5%"), ("train.length", 160), ("train.length", "init"),
    ("train.batch_size", 0), ("train.batch_size", 64.0), ("train.batch_size", "64"),
    ("train.lr", 0), ("train.lr", -0.1), ("train.lr", True), ("train.lr", float("inf")),
    ("train.lr", float("nan")), ("train.lr", float("1e999")), ("train.lr", 10**400),
    ("train.momentum", 1), ("train.momentum", -0.1), ("train.weight_decay", 1.0),
    ("train.nesterov", 1), ("train.nesterov", "true"), ("train.milestones", "80ep"),
    ("train.gamma", 0.0), ("train.gamma", 1.5), ("train.warmup", "0ep"), ("train.amp", "fp16"),
    ("train.checkpoint_every", "5%"), ("train.optimizer", "adam"),
    ("prune.rounds", -1), ("prune.rounds", 1001), ("prune.rounds", True), ("prune.rounds", 3.0),
    ("prune.rate", 1), ("prune.rate", 1.0), ("prune.rate", -0.2), ("prune.rate", True),
    ("prune.rate", "0.2"), ("prune.rate", float("nan")), ("prune.rate", [0.2]),
    ("prune.include", []), ("prune.include", "layer1.*"), ("prune.scope", "local"),
    ("rewind.to", "0it"), ("rewind.to", "start"), ("rewind.kind", "weight"),
    ("rewind.length", "init"), ("analysis.granularity", "layer"), ("analysis.theta", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(recipe: Recipe, key: str, value: object) -> None:
    table, name = key.split(".")
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(recipe(**{table: {name: value}}))
    lines = str(caught.value).splitlines()
    assert [line.startswith(key) for line in lines] == [True]
    assert len(lines[0]) < 300
    assert ": should " in lines[0]


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
    for arch in get_args(TABLES["model"].model_fields["arch"].annotation):
        assert models.build(arch, stem="cifar", num_classes=10, in_channels=1) is not None
