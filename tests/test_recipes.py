"""The shipped recipes hold the published settings that their comments claim."""

from __future__ import annotations

from pathlib import Path

import pytest

import impcore
from impcore import models
from impcore.config import load, shipped
from impcore.errors import DataError
from impcore.imp import lab, schedule
from impcore.scope import find_scope

RECIPES = Path(impcore.__file__).parent / "recipes"
CIFAR = ["resnet14", "resnet20", "resnet32", "resnet44", "resnet56"]
CV_LTH = ["resnet50", "resnet50_cifar100", "resnet50_svhn", "resnet50_pretrained"]
IMAGENET = ["resnet18_imagenet", "resnet50_imagenet"]
GLUE = ["mnli", "qqp", "stsb", "wnli", "qnli", "mrpc", "rte", "sst2", "cola"]
OURS = ("digits", "prose")
OTHERS_DATA = [name for name in sorted(shipped()) if not load(name).data.name.startswith(OURS)]


def test_all_are_there() -> None:
    text = {f"bert_{name}" for name in (*GLUE, "squad", "mlm")}
    assert set(shipped()) >= {"digits", *CIFAR, *CV_LTH, *IMAGENET, *text}


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


@pytest.mark.parametrize("task", [*GLUE, "squad"])
def test_bert_tickets_protocol(task: str) -> None:
    config = load(f"bert_{task}")
    train, squad = config.train, task == "squad"
    assert (config.model.arch, config.data.name) == ("bert", task)
    assert (train.optimizer, train.eps, train.weight_decay, train.clip_norm) == (
        "adamw", 1e-8, 0.0, 1.0
    )  # fmt: skip
    assert (train.batch_size, train.lr) == ((16, 3e-5) if squad else (32, 2e-5))
    assert config.data.max_length == (384 if squad else 128)
    assert config.data.doc_stride == (128 if squad else None)
    assert (train.schedule, train.lr_end, train.lr_span) == ("linear", 0.0, "round")
    assert train.warmup is None
    assert config.schedule(100).total == (22_000 if squad else 300)
    rewind = config.rewind
    assert (rewind.kind, rewind.to, rewind.head) == ("weights", "pretrained", "reset")
    prune = config.prune
    counts = schedule.remaining(85_524_480, prune.schedule, prune.rounds, prune.rate)
    assert counts == [8_552_448 * tenths for tenths in range(10, 0, -1)]


def test_bert_prose_compares_three_tasks_from_two_starts() -> None:
    runs = load("bert_prose").sub_runs()
    names = [run.data.name for run in runs.values()]
    tasks = [f"prose_{task}" for task in ("order", "pairs", "topic") for _ in range(2)]
    assert names == ["prose", *tasks]
    assert sum(run.prune.rounds + 1 for run in runs.values()) == 31
    given = [name for name, run in runs.items() if run.model.path is not None]
    assert given == ["pretrained-order", "pretrained-pairs", "pretrained-topic"]


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


@pytest.mark.parametrize("name", CV_LTH)
def test_cv_lth_protocol(name: str) -> None:
    config = load(name)
    train, steps = config.train, config.schedule(175)
    assert (config.model.arch, config.model.stem, config.model.bn_gamma) == (
        "resnet50",
        "cifar",
        None,
    )
    assert (config.data.validation, config.data.drop_last) == (5000, True)
    assert (train.optimizer, train.lr, train.momentum, train.weight_decay) == (
        "sgd",
        0.1,
        0.9,
        2e-4,
    )
    assert (train.batch_size, train.gamma, train.nesterov) == (256, 0.1, False)
    assert (steps.total, steps.milestones, steps.warmup) == (
        182 * 175,
        (91 * 175, 136 * 175),
        175,
    )
    assert (config.prune.schedule, config.prune.rate, config.prune.rounds) == ("geometric", 0.2, 18)
    assert config.rewind.kind == "weights"
    if name == "resnet50_pretrained":
        assert (config.rewind.to, config.model.path) == ("pretrained", "resnet50-0676ba61.pth")
    else:
        assert (steps.rewind, config.rewind.lr_schedule) == (9 * 175, "restart")
    svhn = name == "resnet50_svhn"
    assert config.data.augment == ("none" if svhn else "flip_crop")


@pytest.mark.parametrize(
    ("name", "rounds", "left"), [(IMAGENET[0], 6, 26.21), (IMAGENET[1], 10, 10.74)]
)
def test_imagenet_protocol(name: str, rounds: int, left: float) -> None:
    config = load(name)
    model, train, steps = config.model, config.train, config.schedule(1252)
    assert (model.arch, model.stem, model.bn_gamma) == (name.split("_")[0], "imagenet", "uniform")
    assert (config.data.name, config.data.augment, config.data.image_size) == (
        "imagenet",
        "resized_crop",
        224,
    )
    assert (train.batch_size, train.lr, train.momentum, train.weight_decay) == (
        1024,
        0.4,
        0.9,
        1e-4,
    )
    assert steps.total == 90 * 1252
    assert (steps.milestones, steps.warmup) == ((30 * 1252, 60 * 1252, 80 * 1252), 5 * 1252)
    assert (config.prune.rounds, config.prune.rate) == (rounds, 0.2)
    assert round(100 * 0.8**rounds, 2) == left
    assert config.rewind.lr_schedule == "resume"


def test_resnet50_prunes_every_convolution_but_the_first() -> None:
    prune = load("resnet50").prune
    scope = find_scope(models.build("resnet50"), prune.include, prune.exclude)
    assert sum(parameter.numel() for parameter in scope.parameters.values()) == 23_445_504


@pytest.mark.parametrize("name", OTHERS_DATA)
def test_without_its_data_a_recipe_says_what_is_missing_and_where(
    name: str, tmp_path: Path
) -> None:
    config = load(name, {"data": {"root": str(tmp_path)}})
    told = rf"^{config.data.name}: .* missing from {tmp_path}.*get them"
    with pytest.raises(DataError, match=told):
        lab.build(config)
    assert not list(tmp_path.iterdir())
