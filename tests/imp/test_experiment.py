"""Whole runs: what they refuse, what they record, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imp_harness import (
    Crash,
    crash_at,
    finish,
    interrupted,
    micro,
    result,
    rows,
    signal_when,
    start,
)

from impcore import atomic, models
from impcore.config import Config
from impcore.errors import CheckpointError, ConfigError, RunDirectoryError
from impcore.imp import experiment, run, training
from impcore.imp.checkpoint import State
from impcore.imp.evaluation import Score
from impcore.imp.rounds import Rounds
from impcore.imp.run_state import RunState

Finished = tuple[Path, dict[str, Any]]
MakeConfig = Callable[..., Config]


def test_a_second_run_exits_and_touches_nothing(make_config: MakeConfig) -> None:
    from test_run_directory import listing

    config = make_config()
    out = Path(config.run.out)
    with start(config) as process:
        signal_when(process, out / "checkpoint" / "000000000001.safetensors", signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        before = listing(out)
        with pytest.raises(RunDirectoryError, match="in use by another run"):
            run(config)
        assert listing(out) == before
        process.kill()


def copied(finished: Finished, make_config: MakeConfig, **overrides: Any) -> Config:
    config = make_config(**overrides)
    shutil.copytree(finished[0], config.run.out)
    return config


def test_a_finished_run_says_so_and_only_its_report_is_written(
    finished: Finished, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_run_directory import listing

    config = copied(finished, make_config)
    out = Path(config.run.out)
    (out / "report.html").unlink()
    before = listing(out)
    assert run(config) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert (out / "report.html").stat().st_size > 0
    after = listing(out)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {".", "report.html", "sigma.csv", "checkpoint", "tickets"}
    assert result(out) == finished[1]


def test_a_signal_after_the_last_round_leaves_the_report_to_the_same_command(
    finished: Finished,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = make_config()
    monkeypatch.setattr(experiment, "_load_report", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run(config) == 143
    assert not (Path(config.run.out) / "report.html").exists()
    monkeypatch.undo()
    assert finish(config) == finished[1]
    assert "this run is finished; its report is written\n" in capsys.readouterr().out


def test_a_signal_while_the_report_is_written_is_told_by_the_exit_code(
    finished: Finished, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copied(finished, make_config)
    report = Path(config.run.out) / "report.html"
    report.unlink()
    real = experiment.report

    def interrupting(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(*arguments)

    monkeypatch.setattr(experiment, "report", interrupting)
    assert run(config) == 130
    assert report.exists()


def test_a_report_that_cannot_be_loaded_costs_none_of_the_last_files(
    finished: Finished, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("no matplotlib")

    config = make_config()
    monkeypatch.setattr(experiment, "_load_report", fail)
    with pytest.raises(ImportError, match="no matplotlib"):
        run(config)
    assert rows(Path(config.run.out))[-1]["round"] == config.prune.rounds
    monkeypatch.undo()
    assert finish(config) == finished[1]  # done: the report alone is missing


def test_a_last_file_that_is_lost_is_told_rather_than_a_report_that_cannot_be_loaded(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, loading = atomic.write, threading.Event()
    rounds = iter(range(2))

    def fail() -> None:
        loading.set()
        raise ImportError("no matplotlib")

    def full(path: Path, data: Any) -> None:
        if path.name == "flow.npz" and next(rounds) == 1:
            assert loading.wait(60)
            raise RunDirectoryError(f"{path}: no room")
        real(path, data)

    config = make_config(prune__rounds=1)
    monkeypatch.setattr(experiment, "_load_report", fail)
    monkeypatch.setattr(atomic, "write", full)
    with pytest.raises(RunDirectoryError, match="no room"):
        run(config)


def test_a_finished_run_of_another_config_is_not_reported_as_this_one(
    finished: Finished, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied(finished, make_config, prune__rate=0.2)
    with pytest.raises(CheckpointError, match=r"prune\.rate: 0\.3 -> 0\.2"):
        run(config)
    before = result(Path(config.run.out))
    assert run(config, force_resume=True) == 0
    said = capsys.readouterr().err
    assert "finished under something else, and left as it is" in said
    assert "prune.rate: 0.3 -> 0.2" in said
    assert result(Path(config.run.out)) == before


def test_what_was_resumed_from_is_not_kept_in_memory(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    interrupted(config, monkeypatch)
    loaded: list[weakref.ref[State]] = []
    load, begin = RunState.load, Rounds.run

    def noted(state: RunState, saved: State) -> None:
        loaded.append(weakref.ref(saved))
        load(state, saved)

    def asked(rounds: Rounds, *meanwhile: Any) -> None:
        assert [state() for state in loaded] == [None]
        begin(rounds, *meanwhile)

    monkeypatch.setattr(RunState, "load", noted)
    monkeypatch.setattr(Rounds, "run", asked)
    assert run(config) == 0


def test_a_changed_config_is_refused_with_a_diff_and_nothing_changes(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_run_directory import listing

    config = make_config()
    out = Path(config.run.out)
    interrupted(config, monkeypatch)
    atomic.remove_temporaries(out / "checkpoint")
    before = listing(out / "checkpoint"), (out / "config.toml").read_bytes()
    with pytest.raises(CheckpointError) as refused:
        run(make_config(train__lr=0.1, prune__rate=0.2))
    for line in ("train.lr: 0.05 -> 0.1", "prune.rate: 0.3 -> 0.2", "--force_resume"):
        assert line in str(refused.value)
    assert before == (listing(out / "checkpoint"), (out / "config.toml").read_bytes())


def test_force_goes_on_and_marks_the_rows_for_good(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = make_config()
    interrupted(config, monkeypatch)
    changed = make_config(train__lr=0.06)
    crash_at(monkeypatch, "replace", 6)
    with pytest.raises(Crash):
        run(changed, force_resume=True)
    monkeypatch.undo()
    assert "not bit-exact" in capsys.readouterr().err
    assert run(changed) == 0
    marks = [row["bit_exact"] for row in rows(Path(config.run.out))]
    assert marks[0] is True
    assert marks[-1] is False
    assert "not bit-exact" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides", [{"prune__rounds": 1}, {"prune__rate": 0.01, "prune__rounds": 5}]
)
def test_force_needs_a_schedule_that_leads_on(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, Any]
) -> None:
    config = make_config()
    interrupted(config, monkeypatch, call=17)
    assert rows(Path(config.run.out))[-1]["round"] == 1
    with pytest.raises(ConfigError, match="does not lead on from there"):
        run(make_config(**overrides), force_resume=True)
    assert finish(config)["rows"][-1]["bit_exact"] is True


@pytest.mark.parametrize("key", ["torch", "code", "model", "data", "threads"])
def test_another_environment_is_refused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    config = make_config()
    interrupted(config, monkeypatch, call=4)
    real = experiment.lab.environment.identity
    monkeypatch.setattr(
        experiment.lab.environment, "identity", lambda *a: {**real(*a), key: "something else"}
    )
    with pytest.raises(CheckpointError, match=f"{key}: .* -> something else"):
        run(config)


def test_names_and_places_may_change(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(micro(tmp_path / "run"), monkeypatch)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = micro(tmp_path / "moved", run__name="other", train__checkpoint_every="3it")
    assert finish(moved)["rows"] == finished[1]["rows"]


def test_a_run_from_given_weights_says_what_they_left_random(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    given = models.build("resnet14", in_channels=1, num_classes=7).state_dict()
    torch.save(given, path)
    config = make_config(model__path=str(path), prune__rounds=0)
    finish(config)
    assert "left random: fc.weight, fc.bias" in capsys.readouterr().out
    told = json.loads((Path(config.run.out) / "weights.json").read_text())
    assert told["path"] == str(path)
    assert told["left"] == ["fc.weight", "fc.bias"]
    assert sorted([*told["taken"], *told["left"]]) == sorted(given)


def test_a_validation_split_is_scored_in_every_row(make_config: MakeConfig) -> None:
    config = make_config(data__validation=300, prune__rounds=1)
    finish(config)
    found = rows(Path(config.run.out))
    scores = [(row["validation_accuracy"], row["validation_loss"]) for row in found]
    assert len(scores) == 2
    assert all(0 < accuracy <= 1 and loss > 0 for accuracy, loss in scores)
    assert all(row["accuracy"] != row["validation_accuracy"] for row in found)


def test_nothing_is_created_when_the_recipe_cannot_run(make_config: MakeConfig) -> None:
    for overrides in (
        {"prune__include": ["nothing.*"]},
        {"data__name": "cifar10", "data__root": "/nowhere"},
        {"train__milestones": ["9it"], "train__length": "8it"},
        {"model__path": "/nowhere.safetensors"},
    ):
        with pytest.raises(ValueError, match=r"include|cifar|milestones|path"):
            run(make_config(**overrides))
    assert not Path(make_config().run.out).exists()


def test_evaluations_stand_where_the_recipe_wants_them(make_config: MakeConfig) -> None:
    config = make_config(train__eval_every="2it", train__ema=0.9)
    finish(config)
    lines = (Path(config.run.out) / "evals.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    wanted = [(0, 2), (0, 4), (0, 6), (1, 4), (1, 6), (2, 4), (2, 6)]
    assert [(line["round"], line["step"]) for line in found] == wanted
    assert [line["lr"] for line in found[:3]] == pytest.approx([0.05, 0.05, 0.005])
    for line, row in zip((found[2], found[4], found[6]), rows(Path(config.run.out)), strict=True):
        for key in ("accuracy", "loss", "train_loss", "average_accuracy", "average_loss"):
            assert line[key] == row[key]
    assert finish(make_config(run__out=config.run.out + "2"))["rows"] == [
        {key: value for key, value in row.items() if not key.startswith("average_")}
        for row in result(Path(config.run.out))["rows"]
    ]


@pytest.mark.parametrize("call", [1, 3, 6])
def test_a_signal_in_an_evaluation_saves_and_changes_nothing(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: int
) -> None:
    from impcore.imp import scoring

    real, calls = scoring.evaluate, [0]

    def interrupting(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    overrides = {"train__eval_every": "1it", "train__checkpoint_every": "100it"}
    config = make_config(**overrides)
    monkeypatch.setattr(scoring, "evaluate", interrupting)
    assert run(config) == 143
    monkeypatch.undo()
    assert calls == [call]
    taken_up: list[int] = []
    real_steps = training.steps

    def watching(*arguments: Any, **keywords: Any) -> Any:
        taken_up.append(keywords["start"])
        return real_steps(*arguments, **keywords)

    monkeypatch.setattr(training, "steps", watching)
    assert finish(config) == finish(micro(tmp_path / "other", **overrides))
    assert taken_up[0] == call


def test_a_drop_of_accuracy_ends_the_run(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from impcore.imp import scoring

    accuracies = iter([0.9, 0.875, 0.5, 0.25])
    monkeypatch.setattr(
        scoring, "evaluate", lambda *_, **__: Score(1.0, {"accuracy": next(accuracies)})
    )
    config = make_config(prune__rounds=3, prune__max_drop=0.1)
    out = Path(config.run.out)
    assert run(config) == 0
    why = "accuracy 0.5000 in round 2 is more than prune.max_drop = 0.1 below the 0.9000 of round 0"
    assert [row.get("stopped") for row in rows(out)] == [None, None, why]
    assert np.load(out / "flow.npz")["M"].shape[0] == 3
    assert f"Stopped early: {why}." in (out / "report.html").read_text()
    assert f"the run ends here: {why}" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "tickets").iterdir()) == [
        f"round_0{n}.safetensors" for n in range(3)
    ]
    assert run(config) == 0
    assert "this run is finished" in capsys.readouterr().out
