"""The shipped recipes hold the published settings that their comments claim."""

from __future__ import annotations

from pathlib import Path

import pytest

import impcore
from impcore.config import load, shipped

RECIPES = Path(impcore.__file__).parent / "recipes"
CIFAR = ["resnet20", "resnet32", "resnet56"]


def test_all_are_there() -> None:
    assert set(shipped()) >= {"digits", *CIFAR}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_loads_and_says_where_it_comes_from(name: str) -> None:
    assert load(name).run.out == f"runs/{name}"
    text = (RECIPES / f"{name}.toml").read_text("utf-8")
    for word in ("# Source:", "# Deviations:", "# Expected time:"):
        assert word in text


@pytest.mark.parametrize("name", CIFAR)
def test_elastic_lth_protocol(name: str) -> None:
    config = load(name)
    train, steps = config.train, config.schedule(391)
    assert (config.model.arch, config.data.name, config.data.augment) == (
        name,
        "cifar10",
        "flip_crop",
    )
    assert (train.optimizer, train.lr, train.momentum, train.weight_decay) == (
        "sgd",
        0.1,
        0.9,
        1e-4,
    )
    assert (train.batch_size, train.gamma, train.warmup, train.nesterov) == (128, 0.1, None, False)
    assert (steps.total, steps.milestones) == (160 * 391, (80 * 391, 120 * 391))
    assert (config.prune.schedule, config.prune.rate, config.prune.scope) == (
        "geometric",
        0.2,
        "global",
    )
    assert (config.rewind.kind, steps.rewind, config.rewind.lr_schedule) == (
        "weights",
        1000,
        "resume",
    )


def test_digits_tasks_compares_what_its_comment_says() -> None:
    config = load("digits_tasks")
    runs = config.sub_runs()
    assert sum(run.prune.rounds + 1 for run in runs.values()) == 67
    assert [run.data.name for run in runs.values()] == [
        "digits", *(f"digits_{task}" for task in ("parity", "rotation", "noisy") for _ in range(2))
    ]  # fmt: skip
    for name, run in runs.items():
        images = 5408 if run.data.name == "digits_rotation" else 1352
        steps = run.schedule(-(-images // run.train.batch_size))
        assert name == "pretrain" or 60 <= steps.total <= 70
        assert (steps.rewind == 0) == (not name.startswith("random"))


def test_digits_rewinds_early_and_ends_at_16_8_percent() -> None:
    config = load("digits")
    assert (config.model.arch, config.data.name, config.prune.rounds) == ("resnet20", "digits", 8)
    assert round((1 - config.prune.rate) ** config.prune.rounds, 3) == 0.168
    steps = config.schedule(22)
    assert 0 < steps.rewind <= steps.total / 4
