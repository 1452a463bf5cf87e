"""What --check says before a run, and that it leaves nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from impcore import models
from impcore.config import Config, load
from impcore.errors import ConfigError
from impcore.imp import checks, lab, run
from impcore.imp.checks import estimate, resources, samples
from impcore.imp.checks.findings import Findings

MakeConfig = Callable[..., Config]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_STEPS", 2)
    monkeypatch.setattr(estimate, "_WARM", 1)


def said(config: Config) -> tuple[int, str]:
    console = Console(width=10_000, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    return checks.check(config, console), console.export_text()


def test_a_run_that_would_go_through(make_config: MakeConfig) -> None:
    config = make_config()
    code, text = said(config)
    assert code == 0
    assert "digits: 1,352 training and 445 test images" in text
    assert "resnet14, 173,840 prunable weights, 2 rounds to 49.00%" in text
    assert "an estimate, from 2 steps" in text
    assert "steps 14 × " in text
    assert "evaluations 3 × " in text
    assert "prunes 2 × " in text
    assert "no fault; nothing was written" in text
    assert list(Path(config.run.out).parent.iterdir()) == []


def test_what_it_estimates_for_the_disk_is_what_a_run_takes(make_config: MakeConfig) -> None:
    config = make_config(train__ema=0.9)
    expected = estimate.measure(lab.build(config), lambda what: None)
    assert run(config) == 0
    out = Path(config.run.out)
    checkpoints = [path.stat().st_size for path in (out / "checkpoint").iterdir()]
    assert max(checkpoints) == pytest.approx(expected.checkpoint, rel=0.05)
    kept = [p for p in out.rglob("*.safetensors") if p.parent.name != "checkpoint"]
    assert sum(p.stat().st_size for p in kept) == pytest.approx(3 * expected.ticket, rel=0.05)
    assert expected.steps == 14


@pytest.mark.parametrize("every", ["2it", "4it", "6it"])
def test_it_counts_the_checkpoints_and_evaluations_of_a_run(
    every: str, make_config: MakeConfig
) -> None:
    config = make_config(train__checkpoint_every=every, train__eval_every=every)
    expected = estimate.measure(lab.build(config), lambda what: None)
    assert run(config) == 0
    out = Path(config.run.out)
    assert max(int(p.stem) for p in (out / "checkpoint").iterdir()) == expected.saves
    assert len((out / "evals.jsonl").read_text().splitlines()) == expected.evaluations


@pytest.mark.parametrize("seconds", [0.01, 3.0])
def test_the_first_step_which_allocates_and_compiles_is_not_timed(
    seconds: float, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, now = lab.build(make_config()), 0.0

    def steps(*_: Any, start: int, end: int, **__: Any) -> Iterator[tuple[int, torch.Tensor]]:
        nonlocal now
        for step in range(start, end):
            now += 100.0 if step == start else seconds
            yield step + 1, torch.zeros(())

    monkeypatch.setattr(estimate.training, "steps", steps)
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now)
    found, timed = estimate._steps(made, made.learner())
    assert found == pytest.approx(seconds)
    assert timed == (1 if seconds > 1 else 2)


def test_it_tells_what_it_does(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(checks, "doing", lambda: nullcontext(told.append))
    assert said(make_config())[0] == 0
    assert told == [
        *("looking at the data", "making the model", "timing training steps"),
        *("timing an evaluation", "timing a prune and a checkpoint"),
    ]


def test_missing_data_is_a_fault_and_the_rest_is_checked(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ((1, 28, 28), 10, 100, 40)
    monkeypatch.setitem(samples._SIZES, "fashion_mnist", small)
    code, text = said(make_config(data__name="fashion_mnist", data__root=str(tmp_path / "none")))
    assert code == 2
    assert "train-images-idx3-ubyte.gz" in text
    assert str(tmp_path / "none") in text
    assert "to get them" in text
    assert "noise of the data's published size" in text
    assert "steps 14 × " in text
    assert "1 fault; nothing was written" in text


def test_every_fault_is_in_the_table(make_config: MakeConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    code, text = said(make_config(model__path=str(tmp_path / "no.safetensors")))
    assert code == 2
    assert "model.path: " in text
    assert "not a run directory (it holds mine.txt)" in text
    assert "steps 14 × " in text
    assert "2 faults" in text
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_fault_of_the_recipe_that_only_data_shows(make_config: MakeConfig) -> None:
    code, text = said(make_config(prune__schedule="explicit", prune__densities=[0.5, 1e-9]))
    assert code == 2
    assert "prune" in text


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_more_images_held_out_than_there_are(
    name: str, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samples._SIZES, "fashion_mnist", ((1, 28, 28), 10, 100, 40))
    config = make_config(data__name=name, data__root=str(tmp_path), data__validation=1352)
    code, text = said(config)
    assert code == 2
    assert "data.validation = 1352: the training images of" in text
    assert "run directory" in text


def test_a_directory_that_holds_a_run_is_left_as_it_is(make_config: MakeConfig) -> None:
    config = make_config(prune__rounds=0)
    assert run(config) == 0
    before = {p: p.stat().st_mtime_ns for p in Path(config.run.out).rglob("*")}
    code, text = said(config)
    assert code == 0
    assert "would go on from what it holds" in text
    assert {p: p.stat().st_mtime_ns for p in Path(config.run.out).rglob("*")} == before


def test_a_full_disk(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**12, 10**12, 1000)
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: full)
    code, text = said(make_config(prune__rounds=0))
    assert code == 2
    assert "1 kB free" in text


def test_memory_is_compared_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings()
    for total in (None, 1000, 105, 99):
        resources._compare("m", 100, total, "process", found)
    assert [verdict for _, verdict, _ in found.rows] == ["ok", "ok", "warning", "fault"]
    assert found.faults == 1


def test_out_of_memory_is_a_fault(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(made: lab.Lab, tell: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(checks, "measure", full)
    code, text = said(make_config())
    assert code == 2
    assert "CUDA out of memory. Tried to allocate 2 GiB" in text


@pytest.mark.parametrize("name", ["resnet18_imagenet", "resnet50_pretrained", "digits_tasks"])
def test_shipped_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMPCORE_DATA", raising=False)
    for key, (shape, classes, _, _) in samples._SIZES.items():
        monkeypatch.setitem(samples._SIZES, key, (shape, classes, 6000, 600))
    expected = estimate.Estimate(1, 10, 5, 1, 1, 1, 1, 1, 1, 1000, 1000)
    monkeypatch.setattr(checks, "measure", lambda made, tell: expected)
    config = load(name, {"run": {"device": "cpu"}})
    code, text = said(config)
    assert code == (0 if name == "digits_tasks" else 2)
    assert ("model.path: " in text) == (name == "resnet50_pretrained")
    assert "Traceback" not in text
    assert "about 13 seconds" in text
    assert list(tmp_path.iterdir()) == []


def folders(root: Path) -> None:
    from PIL import Image

    for part, count in (("train", 5), ("val", 2)):
        for name in ("a", "b"):
            place = root / part / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((40, 50, 3), number, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


def test_folders_of_images_are_counted_and_not_decoded(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    pytest.importorskip("PIL")
    folders(tmp_path / "images")
    before = sorted((tmp_path / "images").rglob("*"))
    config = make_config(
        data__name="image_folder", data__root=str(tmp_path / "images"), data__image_size=16
    )
    code, text = said(config)
    assert code == 0
    assert "image_folder: 10 training and 4 test images; not decoded yet" in text
    assert sorted((tmp_path / "images").rglob("*")) == before


@pytest.mark.parametrize("depth", [18, 34])
def test_weights_are_looked_at_without_the_folders(
    depth: int, make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(models.build("resnet18", stem="imagenet", num_classes=5).state_dict(), path)
    weights = {"model__path": str(path), "model__arch": f"resnet{depth}"}
    config = make_config(
        data__name="image_folder",
        data__root=str(tmp_path / "none"),
        model__stem="imagenet",
        **weights,
    )
    code, text = said(config)
    assert code == 2
    assert f"{tmp_path / 'none'}" in text
    assert (f"{path}: fits resnet18, apart from what depends on the data" in text) == (depth == 18)
    assert ("model.path: " in text) == (depth == 34)
    assert f"{1 + (depth == 34)} fault" in text
    assert "steps and times depend on the missing data" in text


def test_it_looks_at_one_process(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        checks.check(make_config())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 seconds"),
        (1.2, "1 second"),
        (119, "119 seconds"),
        (120, "2.0 minutes"),
        (7200, "2.0 hours"),
        (3 * 86400, "3.0 days"),
    ],
)
def test_rough_times(seconds: float, text: str) -> None:
    assert estimate.rough(seconds) == text
