"""Runs that several processes make together over Gloo."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import PYTHONPATH, micro, result
from torch import nn
from world_harness import Ended, Processes, command

import impcore
from impcore import atomic
from impcore.config import Config
from impcore.errors import CheckpointError
from impcore.imp import run
from impcore.imp.rounds import Rounds


def run_together(
    config: Config, *options: str, target: Callable[..., int] = command, size: int = 2
) -> list[Ended]:
    out = Path(config.run.out)
    return Processes(
        target, config, *options, logs=out.with_name(f"{out.name}-logs"), size=size
    ).end()


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of a run of two processes under torchrun that was never stopped."""
    config = micro(tmp_path_factory.mktemp("distributed") / "run")
    recipe = Path(config.run.out).with_name("micro.toml")
    recipe.write_text(config.to_toml())
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [sys.executable, *arguments, "-m", "impcore.cli", str(recipe)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("round 2/2  density  49.00%") == 1
    assert "Warning" not in ended.stderr
    return result(Path(config.run.out))


def test_a_run_leaves_what_one_process_leaves(
    reference: dict[str, Any], finished: tuple[Path, dict[str, Any]]
) -> None:
    _, alone = finished
    assert reference.keys() == alone.keys()
    for mine, theirs in zip(reference["rows"], alone["rows"], strict=True):
        assert all(mine[key] == theirs[key] for key in ("remaining", "steps", "bit_exact"))
    assert len({row["mask_hash"] for row in reference["rows"]}) == 3
    assert reference["rows"][0]["mask_hash"] == alone["rows"][0]["mask_hash"]


@pytest.mark.parametrize(
    ("signum", "rank", "codes"), [(signal.SIGINT, 1, [130, 130]), (signal.SIGKILL, 0, [-9, 1])]
)
def test_stopped_in_any_way_it_ends_in_the_same_bytes(
    reference: dict[str, Any], tmp_path: Path, signum: signal.Signals, rank: int, codes: list[int]
) -> None:
    config = micro(tmp_path / "run")
    first = Processes(command, config, logs=tmp_path / "logs")
    first.kill_when(tmp_path / "run/tickets/round_00.safetensors", signum, rank)
    ended = first.end()
    assert [e.code for e in ended] == codes, ended
    alone = "another process of this run has ended without a word"
    assert (alone in ended[1].err) == (signum == signal.SIGKILL)
    assert "Traceback" not in ended[1].err
    with pytest.raises(CheckpointError, match="processes: 2 -> 1"):
        run(config)
    resumed = run_together(config)
    assert [e.code for e in resumed] == [0, 0], resumed
    assert "resuming in round" in resumed[0].out
    assert resumed[1] == Ended(0, "", "")
    assert result(tmp_path / "run") == reference


def _with_other_masks(config: Config) -> int:
    if os.environ["RANK"] == "1":
        flip = torch.flip

        def other(model: nn.Module, **options: Any) -> object:
            weight = model.layer1[0].conv1.weight
            weight.data = flip(weight.data, (0,)).contiguous()
            return prune(model, **options)

        prune, impcore.prune_global = impcore.prune_global, other
    return command(config)


def test_other_masks_in_one_process_end_the_run(tmp_path: Path) -> None:
    config = micro(tmp_path / "run")
    ended = run_together(config, target=_with_other_masks)
    assert [e.code for e in ended] == [1, 1]
    (error,) = [e.err for e in ended if e.err]
    assert "no longer have the same masks: process 0: " in error
    assert "Traceback" not in error
    assert len({word for word in error.split() if len(word.strip(",;")) == 64}) == 2
    assert not (tmp_path / "run/tickets/round_01.safetensors").exists()


def _fail_in_one(config: Config) -> int:
    if os.environ["RANK"] == "1":
        config = Config.from_dict(
            {**config.model_dump(exclude_none=True), "data": {"name": "cifar10", "root": "/none"}}
        )
    return command(config)


def test_an_error_in_one_process_ends_all_with_one_message(tmp_path: Path) -> None:
    ended = run_together(micro(tmp_path / "run"), target=_fail_in_one)
    assert [e.code for e in ended] == [1, 1]
    assert ended[0].err == ""
    assert "data_batch_1, data_batch_2" in ended[1].err
    assert "(in process 1)" in ended[1].err
    assert not (tmp_path / "run").exists()


def test_faults_of_the_recipe_are_told_once(tmp_path: Path) -> None:
    ended = run_together(micro(tmp_path / "run"), "--train.batch_size", "33")
    assert [e.code for e in ended] == [2, 2]
    (error,) = [e.err for e in ended if e.err]
    assert "train.batch_size = 33: is the size of a whole batch" in error
    assert "32 would do" in error
    ended = run_together(micro(tmp_path / "run"), "--train.lr", "-1")
    assert [e.code for e in ended] == [2, 2]
    assert ("train.lr = -1.0" in ended[0].err, ended[1].err) == (True, "")


def _full_disk(config: Config, room: int) -> int:
    """Rank 0 can write so many times."""
    if os.environ["RANK"] == "0":
        write, left = os.write, room

        def full(descriptor: int, data: Any) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        atomic.os.write = full  # type: ignore[attr-defined]
    return command(config)


def test_a_file_that_cannot_be_written_ends_all(reference: dict[str, Any], tmp_path: Path) -> None:
    config = micro(tmp_path / "run")
    ended = Processes(_full_disk, config, 30, logs=tmp_path / "logs").end()
    assert ended[0].code == 1, ended
    assert ended[1].code != 0, ended
    assert "could not be written (No space left on device)" in ended[0].err
    assert "Traceback" not in ended[0].err + ended[1].err
    assert [e.code for e in run_together(config)] == [0, 0]
    assert result(tmp_path / "run") == reference


def _stop_the_writer_on_a_slow_disk(config: Config) -> int:
    fsync, save, rank = os.fsync, Rounds._save, os.environ["RANK"]

    def slow(descriptor: int) -> None:
        time.sleep(2)
        fsync(descriptor)

    def stop_and_save(self: Rounds) -> None:
        save(self)
        if rank == "0" and self.progress.step == 2:
            atomic.os.fsync = slow  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)

    Rounds._save = stop_and_save
    code = command(config)
    if rank == "1":
        print(len(list(Path(config.run.out).glob("checkpoint/.*.tmp"))))
    return code


def test_no_process_ends_before_what_was_saved_is_on_disk(tmp_path: Path) -> None:
    """Torchrun would end the writer then, by a second signal."""
    ended = run_together(micro(tmp_path / "run"), target=_stop_the_writer_on_a_slow_disk)
    assert [e.code for e in ended] == [143, 143]
    assert ended[1].out == "0\n"


def _stop_in_round_1(config: Config) -> int:
    save = Rounds._save

    def save_and_stop(self: Rounds) -> None:
        save(self)
        if (self.progress.round, self.progress.step) == (1, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    Rounds._save = save_and_stop
    return command(config)


@pytest.mark.soak
def test_the_sums_of_three_processes_are_in_the_same_order_after_a_resume(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "train__batch_size": 33, "train__checkpoint_every": "1it", "train__ema": 0.9,
        "train__accumulate": 2, "train__eval_every": "2it", "prune__score": "snip",
        "data__augment": "crop", "data__validation": 100,
    }  # fmt: skip
    whole, cut = (micro(tmp_path / name, **options) for name in ("whole", "cut"))
    assert [e.code for e in run_together(whole, size=3)] == [0, 0, 0]
    assert [e.code for e in run_together(cut, target=_stop_in_round_1, size=3)] == [143, 143, 143]
    assert [e.code for e in run_together(cut, size=3)] == [0, 0, 0]
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
