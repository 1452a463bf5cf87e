"""The experiment over tasks: its runs are ordinary ones, and no way of ending it changes them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import micro, result, rows, signal_when, start
from safetensors.torch import load_file
from test_experiment import Crash, crash_at
from test_run_directory import listing
from world_harness import Ended, Processes, command

from impcore import rg
from impcore.config import Config
from impcore.errors import CheckpointError, ConfigError, RunDirectoryError
from impcore.imp import over_tasks, run
from impcore.imp.run_directory import RunDirectory
from impcore.imp.signals import Stop

RUNS = ["pretrain", "random-parity", "pretrained-parity"]
PARITY = {"data": {"name": "digits_parity"}}
Finished = tuple[Path, dict[str, Any]]


def small(out: Path, **tasks: Any) -> Config:
    """One task from random and from pre-trained weights: three runs, 4 or 6 steps a training."""
    base = micro(out, train__length="4it", train__milestones=[], prune__rounds=1)
    document = base.model_dump(exclude_none=True)
    document["run"]["experiment"] = "tasks"
    document["tasks"] = {
        "pretrain": {"data": {"name": "digits_rotation"}, "train": {"length": "6it", "ema": 0.5}},
        "init": {"random": {}, "pretrained": {"rewind": {"to": "pretrained"}}},
        "task": {"parity": PARITY},
        **tasks,
    }
    return Config.from_dict(document)


def results(out: Path) -> dict[str, Any]:
    made = {name: result(out / name) for name in RUNS}
    files = [*sorted(out.glob("*.csv")), out / "pretrained.safetensors"]
    return made | {path.name: path.read_bytes() for path in files}


def finish(config: Config) -> dict[str, Any]:
    assert run(config) == 0
    return results(Path(config.run.out))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("tasks") / "run"
    return out, finish(small(out))


def test_a_signal_after_the_last_run_leaves_the_report_to_the_same_command(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    (out / "report.html").unlink()

    def last(run: Config, *, stop: Stop, **options: Any) -> None:
        if run.run.out.endswith(RUNS[-1]):
            stop.request(signal.SIGTERM)

    monkeypatch.setattr(over_tasks, "imp", last)
    assert run(small(out)) == 143
    assert not (out / "report.html").exists()


def test_every_run_is_an_ordinary_one(finished: Finished, tmp_path: Path) -> None:
    out = finished[0]
    sub = small(out).sub_runs()
    assert list(sub) == RUNS
    for name in RUNS:
        assert len(rg.load(out / name).rows) == (1 if name == "pretrain" else 2)
        assert (out / name / "report.html").exists()
    alone = sub["random-parity"].model_dump(exclude_none=True)
    alone["run"]["out"] = str(tmp_path / "alone")
    assert run(Config.from_dict(alone)) == 0
    assert result(tmp_path / "alone") == finished[1]["random-parity"]


def test_pretrained_runs_start_from_the_weights_that_pretraining_ended_with(
    finished: Finished,
) -> None:
    out = finished[0]
    weights = load_file(out / "pretrained.safetensors")
    average = load_file(out / "pretrain" / "averages" / "round_00.safetensors")
    assert set(average) == set(weights)
    assert all(torch.equal(average[name], tensor) for name, tensor in weights.items())
    before = load_file(out / "pretrain" / "tickets" / "round_00.safetensors")
    ticket = load_file(out / "pretrained-parity" / "tickets" / "round_00.safetensors")
    random = load_file(out / "random-parity" / "tickets" / "round_00.safetensors")
    for name, tensor in weights.items():
        taken = ticket[f"rewind/{name}"]
        assert torch.equal(tensor, taken) != name.startswith("fc.")
    for other in (before, random):
        assert not torch.equal(ticket["rewind/conv1.weight"], other["rewind/conv1.weight"])
    said = json.loads((out / "pretrained-parity" / "weights.json").read_text())
    assert said["left"] == ["fc.weight", "fc.bias"]
    assert not (out / "random-parity" / "weights.json").exists()


@pytest.mark.parametrize(
    "call", [13, *(pytest.param(call, marks=pytest.mark.soak) for call in (4, 20, 30, 40))]
)
def test_a_crash_anywhere_changes_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    config = small(tmp_path / "run")
    crash_at(monkeypatch, "replace", call)
    with pytest.raises(Crash):
        run(config)
    monkeypatch.undo()
    assert finish(config) == finished[1]


def test_a_signal_stops_the_whole_experiment_and_it_goes_on(
    finished: Finished, tmp_path: Path
) -> None:
    config = small(tmp_path / "run")
    first = tmp_path / "run" / "random-parity" / "checkpoint" / "000000000002.safetensors"
    with start(config) as process:
        signal_when(process, first, signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == 143
    assert "stopped by SIGTERM; run the same command again to go on" in out
    assert not (tmp_path / "run" / "pretrained-parity").exists()
    assert finish(config) == finished[1]


def test_finished_runs_are_skipped_wherever_they_lie_and_a_task_may_be_added(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(finished[0], out)
    before = {name: listing(out / name) for name in RUNS}
    assert run(small(out, task={"parity": PARITY, "digits": {}})) == 0
    shown = capsys.readouterr().out
    assert shown.count("this run is finished\n") == len(RUNS)
    assert "run 5/5 pretrained-digits" in shown
    for name in RUNS:
        after = listing(out / name)
        changed = {part for part in after if after[part] != before[name].get(part)}
        assert changed <= {".", "checkpoint", "tickets"}
    assert {name: result(out / name) for name in RUNS} == {name: finished[1][name] for name in RUNS}


def test_pretraining_that_came_out_otherwise_is_refused_by_what_began_from_it(
    finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    shutil.rmtree(out / "pretrain")
    other = {"data": {"name": "digits_rotation"}, "train": {"length": "5it"}}
    with pytest.raises(CheckpointError, match=r"weights: [0-9a-f]{64} -> [0-9a-f]{64}"):
        run(small(out, pretrain=other))


def test_a_changed_recipe_is_refused_before_anything_is_changed(
    finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    before = {name: listing(out / name) for name in RUNS}
    noisy = {"data": {"name": "digits_noisy"}}
    with pytest.raises(CheckpointError) as refused:
        run(small(out, task={"parity": noisy}))
    assert 'random-parity: data.name: "digits_parity" -> "digits_noisy"' in str(refused.value)
    assert before == {name: listing(out / name) for name in RUNS}


def test_force_marks_what_had_begun_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    crash_at(monkeypatch, "replace", 19)
    with pytest.raises(Crash):
        run(small(out))
    monkeypatch.undo()
    assert not (out / "pretrained-parity").exists()
    changed = small(out, task={"parity": {**PARITY, "train": {"lr": 0.01}}})
    with pytest.raises(CheckpointError, match=r"random-parity: train\.lr: 0\.05 -> 0\.01"):
        run(changed)
    assert run(changed, force_resume=True) == 0
    exact = {name: rows(out / name)[-1]["bit_exact"] for name in RUNS}
    assert exact == {"pretrain": True, "random-parity": False, "pretrained-parity": True}


def test_another_experiments_directory_is_refused(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    with pytest.raises(RunDirectoryError, match="holds a run of the experiment 'tasks'"):
        run(micro(out))
    with pytest.raises(RunDirectoryError, match="holds a run of the experiment 'imp'"):
        run(small(out / "pretrain"))


def test_a_second_run_exits_and_touches_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunDirectory(out, "tasks"):
        before = listing(out)
        with pytest.raises(RunDirectoryError, match="in use by another run"):
            run(small(out))
        assert listing(out) == before


def test_nothing_is_created_when_a_task_cannot_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    noisy = {"data": {"name": "digits_noisy"}, "prune": {"include": ["nothing.*"]}}
    with pytest.raises(ConfigError, match=r"^in run 'random-noisy': .*nothing"):
        run(small(out, task={"digits": {}, "noisy": noisy}))
    assert not out.exists()


def test_two_processes_run_it_together(tmp_path: Path) -> None:
    config = small(tmp_path / "run")
    ended = Processes(command, config, logs=tmp_path / "logs").end()
    assert [e.code for e in ended] == [0, 0], ended
    assert ended[1] == Ended(0, "", "")
    assert set(results(tmp_path / "run")) >= {*RUNS, "pretrained.safetensors"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in ("straight", "stopped"):
        document = small(tmp_path / name).model_dump(exclude_none=True)
        document["run"]["device"] = "cuda"
        config = Config.from_dict(document)
        if name == "stopped":
            crash_at(monkeypatch, "replace", 13)
            with pytest.raises(Crash):
                run(config)
            monkeypatch.undo()
        made.append(finish(config))
    assert made[0] == made[1]
