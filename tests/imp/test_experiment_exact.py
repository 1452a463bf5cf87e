"""Whole runs: no way of ending one early changes its result."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import Crash, crash_at, finish, interrupted, micro, signal_when, start

from impcore import atomic
from impcore.config import Config, load
from impcore.errors import RunDirectoryError
from impcore.imp import run

Finished = tuple[Path, dict[str, Any]]
MakeConfig = Callable[..., Config]
WRITES = 20


def test_the_same_config_gives_the_same_bytes(finished: Finished, make_config: MakeConfig) -> None:
    assert finish(make_config()) == finished[1]


def test_control_another_seed_does_not(finished: Finished, make_config: MakeConfig) -> None:
    other = finish(make_config(run__seed=4))
    assert other["flow.npz"] != finished[1]["flow.npz"]
    assert other["rows"] != finished[1]["rows"]


@pytest.mark.parametrize(
    ("name", "call"), [("replace", 1), ("replace", 9), ("write", 14), ("fsync", 30)]
)
def test_a_crash_at_a_write_changes_nothing(
    finished: Finished,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
) -> None:
    calls = crash_at(monkeypatch, name, call)
    with pytest.raises(Crash):
        run(make_config())
    monkeypatch.undo()
    assert calls == [call]
    assert finish(make_config()) == finished[1]


def test_two_threads_are_as_exact_as_one(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(run__threads=2)
    interrupted(config, monkeypatch)
    assert finish(config) == finish(micro(tmp_path / "other", run__threads=2))


@pytest.mark.parametrize(
    "overrides",
    [
        {"train__channels_last": True, "rewind__lr_schedule": "restart"},
        {"train__amp": "bf16", "rewind__kind": "lr"},
        {"analysis__theta": "rewound", "rewind__kind": "finetune", "rewind__to": "init"},
        {"train__momentum": 0.0, "data__augment": "crop", "analysis__theta": "rewound"},
        {"train__label_smoothing": 0.1, "train__accumulate": 2, "train__ema": 0.9},
        {"train__eval_every": "1it", "train__clip_norm": 1.0},
        # PyTorch's float16 convolutions take most of a minute on a CPU.
        pytest.param({"train__amp": "fp16", "train__clip_norm": 1.0}, marks=pytest.mark.soak),
        {"train__optimizer": "adamw", "train__schedule": "onecycle", "train__milestones": None},
        {"prune__score": "movement", "prune__scope": "random"},
    ],
    ids=lambda overrides: "+".join(map(str, overrides.values())),
)
def test_every_kind_of_run_resumes_exactly(
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: dict[str, Any],
) -> None:
    config = make_config(**overrides)
    for call in (5, 6):
        interrupted(config, monkeypatch, call)
    assert finish(config) == finish(micro(tmp_path / "other", **overrides))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_a_run_on_a_gpu_resumes_exactly(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str
) -> None:
    overrides = {"run__device": "cuda", "train__amp": amp, "train__channels_last": True}
    config = make_config(**overrides)
    interrupted(config, monkeypatch)
    assert finish(config) == finish(micro(tmp_path / "other", **overrides))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_shipped_digits_resume_exactly_on_a_gpu(tmp_path: Path) -> None:
    digits_resume(tmp_path, "cuda")


@pytest.mark.soak
def test_the_shipped_digits_resume_exactly(tmp_path: Path) -> None:
    digits_resume(tmp_path, "cpu")


def digits_resume(folder: Path, device: str) -> None:
    """The recipe that ships, killed in a process of its own, ends as one that never stopped."""
    stopped, straight = (
        load(
            "digits", {"run": {"out": str(folder / name), "device": device}, "prune": {"rounds": 3}}
        )
        for name in ("stopped", "straight")
    )
    with start(stopped) as process:
        appearing = Path(stopped.run.out) / "tickets" / "round_01.safetensors"
        signal_when(process, appearing, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert finish(stopped) == finish(straight)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["replace", "write", "fsync"])
def test_a_crash_at_any_write_changes_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for call in range(1, 10_000):
        config = micro(tmp_path / str(call))
        crash_at(monkeypatch, name, call)
        try:
            assert run(config) == 0
        except Crash:
            monkeypatch.undo()
            assert finish(config) == finished[1]
            continue
        break
    assert call > WRITES


@pytest.mark.parametrize(
    "appearing",
    ["checkpoint/000000000002.safetensors", "tickets/round_00.safetensors", "flow.npz"],
)
def test_a_kill_changes_nothing(
    finished: Finished, make_config: MakeConfig, appearing: str
) -> None:
    config = make_config()
    out = Path(config.run.out)
    with start(config) as process:
        signal_when(process, out / appearing, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "report.html").exists()
    assert finish(config) == finished[1]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_stops(
    finished: Finished, make_config: MakeConfig, signum: signal.Signals, code: int
) -> None:
    config = make_config()
    checkpoint = Path(config.run.out) / "checkpoint" / "000000000003.safetensors"
    with start(config) as process:
        signal_when(process, checkpoint, signum)
        out, err = process.communicate()
    assert process.returncode == code
    assert "stopping at the next step and saving" in err
    assert f"stopped by {signum.name}; run the same command again to go on" in out
    assert finish(config) == finished[1]


@pytest.mark.parametrize("where", ["training.steps", "evaluate", "prune_global", "ticket"])
def test_a_signal_in_any_phase_stops_and_changes_nothing(
    finished: Finished, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import impcore
    from impcore.imp import rounds, scoring

    sent = []

    def interrupting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if not sent:
                sent.append(where)
                os.kill(os.getpid(), signal.SIGTERM)
            return function(*arguments, **keywords)

        return call

    owner: Any = {"prune_global": impcore, "evaluate": scoring}.get(where, rounds)
    *path, name = where.split(".")
    for part in path:
        owner = getattr(owner, part)
    monkeypatch.setattr(owner, name, interrupting(getattr(owner, name)), raising=False)
    config = make_config()
    assert run(config) == 143
    monkeypatch.undo()
    assert sent == [where]
    assert not (Path(config.run.out) / "report.html").exists()
    assert finish(config) == finished[1]


def test_a_signal_in_the_last_evaluation_of_a_training_loses_no_step(
    finished: Finished,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from impcore.imp import scoring
    from impcore.imp.pace import Pace

    real = scoring.evaluate

    def interrupting(*arguments: Any, **keywords: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    monkeypatch.setattr(Pace, "due", lambda _: False)
    monkeypatch.setattr(scoring, "evaluate", interrupting)
    config = make_config(train__checkpoint_every=None)
    assert run(config) == 143
    monkeypatch.undo()
    assert finish(config) == finished[1]
    assert "resuming in round 0 at step 6" in capsys.readouterr().out


def test_a_full_disk_stops_loudly_and_the_run_goes_on_later(
    finished: Finished, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, real, written = make_config(), os.write, [0]

    def filling(descriptor: int, data: Any) -> int:
        written[0] += len(data)
        if written[0] > 15_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(atomic.os, "write", filling)
    with pytest.raises(RunDirectoryError, match="No space left on device"):
        run(config)
    monkeypatch.undo()
    assert written[0] > 15_000_000
    assert finish(config) == finished[1]


def test_a_damaged_newest_checkpoint_is_reported_and_the_result_the_same(
    finished: Finished,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = make_config()
    crash_at(monkeypatch, "replace", 10)
    with pytest.raises(Crash):
        run(config)
    monkeypatch.undo()
    older, newest = sorted((Path(config.run.out) / "checkpoint").glob("0*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert finish(config) == finished[1]
    assert f"warning: {newest}: damaged" in capsys.readouterr().err
    assert older != newest
