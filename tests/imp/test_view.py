from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from impcore.config import Config
from impcore.imp import run
from impcore.imp import view as view_module
from impcore.imp.view import View, duration, headline

ROW = {
    "round": 1,
    "density": 0.8,
    "accuracy": 0.95125,
    "loss": 0.2,
    "remaining": 12_345,
    "seconds": 3.21,
}


class Screen:
    def __init__(self, terminal: bool) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        options = {"force_terminal": terminal, "width": 160, "color_system": None}
        self.view = View(Console(file=self.out, **options), Console(file=self.err, **options))


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(view_module, "time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def take(view: View, clock: Clock, steps: int, seconds: float) -> None:
    for step in range(steps):
        clock.now += seconds
        view.step(step + 1, torch.tensor(0.25))


def watch(view: View, steps: int) -> None:
    with view:
        view.open(4 * steps, 10)
        view.begin(1, 8, 0.8, 0, steps)
        for step in range(1, steps + 1):
            view.step(step, torch.tensor(0.25))
        view.row(ROW, 8)


@pytest.mark.parametrize("terminal", [False, True])
def test_shows_round_epoch_density_accuracy_and_eta(terminal: bool) -> None:
    screen = Screen(terminal)
    watch(screen.view, 20)
    text = screen.out.getvalue()
    for part in ("round 1/8", "density 80.0%", "epoch 0.1/2.0", "loss 0.2500", "ETA -:--"):
        assert part in text
    assert "accuracy 95.12%" in text
    assert "12,345 weights" in text
    assert ("\x1b" in text) == terminal


def test_a_narrow_terminal_still_shows_the_eta() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, color_system=None)
    watch(View(console), 20)
    assert "round 1/8  epoch 0.1/2.0  ETA -:--" in out.getvalue()


def test_plain_lines_are_few() -> None:
    screen = Screen(False)
    watch(screen.view, 2000)
    assert len(screen.out.getvalue().splitlines()) == 2


def test_the_device_is_read_only_to_draw() -> None:
    class Loss:
        reads = 0

        def item(self) -> float:
            self.reads += 1
            return 0.0

    screen, loss = Screen(True), Loss()
    with screen.view as view:
        view.open(5000, 10)
        view.begin(0, 1, 1.0, 0, 5000)
        started = time.monotonic()
        for step in range(1, 5001):
            view.step(step, loss)  # type: ignore[arg-type]
        took = time.monotonic() - started
    assert 1 <= loss.reads <= 2 + took / 0.5


def test_warnings_go_to_standard_error_as_they_are() -> None:
    screen = Screen(False)
    screen.view.warn("a [b]file[/b] of runs/seed:on:1 is damaged")
    assert screen.err.getvalue() == "warning: a [b]file[/b] of runs/seed:on:1 is damaged\n"
    assert not screen.out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_are_printed_as_they_are(terminal: bool) -> None:
    line = f"a [b]file[/b] of runs/seed:on:1 {'x' * 200}\n"
    screen = Screen(terminal)
    screen.view.note(line[:-1])
    assert screen.out.getvalue() == line
    with screen.view as view:
        view.open(20, 10)
        view.note(line[:-1])
    assert screen.out.getvalue().count(line) == 2


def shown(screen: Screen) -> str:
    """The lines so far, or the live line."""
    live = screen.view._progress
    return live.tasks[0].description if live is not None else screen.out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_cold_first_steps_give_no_estimate(clock: Clock, terminal: bool) -> None:
    screen = Screen(terminal)
    with screen.view as view:
        view.open(1000, 10)
        view.begin(0, 1, 1.0, 0, 1000)
        take(view, clock, 1, 40.0)
        take(view, clock, 10, 0.2)
        assert "ETA -:--" in shown(screen)
        take(view, clock, 189, 0.2)
        last = re.findall(r"ETA (\d+):(\d\d)", shown(screen))[-1]
    # 800 steps are left, of a fifth of a second; lines appear every half minute, or half second.
    assert 155 <= 60 * int(last[0]) + int(last[1]) <= 170


def test_runs_of_an_experiment_share_one_clock(clock: Clock) -> None:
    screen = Screen(False)
    view = screen.view
    for number in range(1, 6):
        view.part(f"{number}/5 run", 20 * (5 - number))
        view.open(20, 10)
        view.begin(0, 0, 1.0, 0, 20)
        take(view, clock, 20, 1.0)
    text = screen.out.getvalue()
    # A second a step: a line at the first one and each half minute, whoever's turn it is.
    assert "run 1/5 run\n1/5 run  round 0/0  epoch 0.1/2.0  ETA -:--" in text
    assert "2/5 run  round 0/0  epoch 1.1/2.0  ETA 1:09" in text
    assert text.count("ETA") == 4


@pytest.mark.parametrize("terminal", [False, True])
def test_a_long_evaluation_shows_how_long_it_takes(clock: Clock, terminal: bool) -> None:
    screen = Screen(terminal)
    with screen.view as view:
        view.open(40, 10)
        view.begin(0, 1, 1.0, 0, 20)
        take(view, clock, 20, 0.1)
        for done in range(1, 101):
            clock.now += 1.0
            view.evaluating(done, 100)
            if done == 60:
                assert re.search(r"round 0/1  evaluating \d\d/100  ETA 0:[45]\d", shown(screen))
        for done in range(1, 101):
            view.evaluating(done, 100)
        lines = screen.out.getvalue().splitlines()
    assert terminal or len([line for line in lines if "evaluating" in line]) == 3


def test_a_run_tells_of_its_evaluations(
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(view_module, "_PLAIN_SECONDS", 0.0)
    assert run(make_config(prune__rounds=0, train__eval_batch_size=200)) == 0
    assert "round 0/0  evaluating 3/3  ETA -:--" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--"), (-3, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_headline_is_the_most_telling_metric_with_the_accuracy() -> None:
    assert headline({"accuracy": 0.5}) == "accuracy 50.00%"
    metrics = {"matthews": 0.25, "accuracy": 0.875}
    assert headline({"accuracy": 0.875, "metrics": metrics}) == "matthews 0.2500  accuracy 87.50%"
    row = {"accuracy": None, "metrics": {"pearson": None, "spearman": 0.1}}
    assert headline(row) == "pearson undefined"
