"""What a person sees of a run: a live line on a terminal, plain lines anywhere else.

Invariant: the view decides nothing, and reads the device only when it redraws (a few times a
second on a terminal, every half minute elsewhere), so watching a run does not slow it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from impcore.imp.eta import Eta

_LIVE_SECONDS = 0.5
_PLAIN_SECONDS = 30.0
_AS_IT_IS: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}
"""How rich prints a line without making anything else of its words."""


def duration(seconds: float | None) -> str:
    """Seconds as 1:02:03 or 2:03; "-:--" if they are not known."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def headline(row: Mapping[str, Any]) -> str:
    """How well a trained state does: its task's most telling metric, and the accuracy beside it."""
    metrics = row.get("metrics") or {"accuracy": row["accuracy"]}
    first = next(iter(metrics))
    shown = {name: metrics[name] for name in dict.fromkeys((first, "accuracy")) if name in metrics}
    return "  ".join(f"{name} {_number(name, value)}" for name, value in shown.items())


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.2%}" if name in ("accuracy", "f1", "exact_match") else f"{value:.4f}"


class View:
    """Lines about a run on standard output, warnings on standard error.

    A context manager that takes the live line away at its end. With `quiet` it shows nothing.
    """

    def __init__(
        self, console: Console | None = None, errors: Console | None = None, *, quiet: bool = False
    ) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._errors = errors or Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._every = _LIVE_SECONDS if self._live else _PLAIN_SECONDS
        self._quiet = quiet
        self._progress: Progress | None = None
        self._redraw = math.inf if quiet else -math.inf
        self._eta, self._evaluation = Eta(), Eta()
        self._left = 0
        self._steps_per_epoch = 1
        self._where = self._density = self._last = self._part = ""
        self._after = 0
        self._start = self._end = 0

    def note(self, text: str) -> None:
        """Print a line."""
        if self._progress is None and not self._console.quiet:
            # As rich would, without the milliseconds that it takes after a training.
            self._console.file.write(f"{text}\n")
            self._console.file.flush()
        else:
            self._print(self._console, text)

    def warn(self, text: str) -> None:
        """Print a warning, on standard error."""
        self._print(self._errors, f"warning: {text}", style="bold red")

    def part(self, name: str, steps_after: int) -> None:
        """Say which of several runs comes next, and how many training steps follow after it."""
        self._part, self._after, self._last = f"{name}  ", steps_after, ""
        self.note(f"run {name}")

    def open(self, steps_left: int, steps_per_epoch: int) -> None:
        """Start the clock of a run that has `steps_left` training steps to go.

        Runs of which `part` told share one clock: it shows when the last of them will be done.
        """
        self._steps_per_epoch = steps_per_epoch
        if not self._part:
            self._eta = Eta()
            self._redraw = math.inf if self._quiet else -math.inf
        self._left = self._eta.done + steps_left + self._after
        if self._live and not self._quiet:
            columns = (BarColumn(bar_width=10), TextColumn("{task.description}", markup=False))
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.add_task("", total=max(1, self._left))
            self._progress.start()

    def begin(self, round_number: int, rounds: int, density: float, start: int, end: int) -> None:
        """Say which training begins: steps `start` to `end` of round `round_number`."""
        self._where, self._density = f"round {round_number}/{rounds}", f"density {density:.1%}"
        self._start, self._end = start, end

    def step(self, step: int, loss: Tensor) -> None:
        """Count a training step; redraw if it is time, and only then read `loss`."""
        now = time.monotonic()
        self._eta.step(now)
        if now < self._redraw:
            return
        done = self._eta.done
        epochs = f"{(step - self._start) / self._steps_per_epoch:.1f}"
        whole = f"{(self._end - self._start) / self._steps_per_epoch:.1f}"
        # The most wanted first: a narrow terminal cuts the end off.
        eta = duration(self._eta.seconds(now, self._left - done))
        text = f"{self._part}{self._where}  epoch {epochs}/{whole}  ETA {eta}  "
        text += f"{self._density}{self._last}  loss {loss.item():.4f}"
        self._draw(now, text)

    def evaluating(self, done: int, batches: int) -> None:
        """Count a batch of an evaluation, of which `done` are done; redraw if it is time."""
        now = time.monotonic()
        if done == 1:
            self._evaluation = Eta()
        self._evaluation.step(now)
        if now < self._redraw:
            return
        eta = duration(self._evaluation.seconds(now, batches - done))
        self._draw(now, f"{self._part}{self._where}  evaluating {done}/{batches}  ETA {eta}")

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Print an evaluation within a round."""
        self.note(f"{self._where}  epoch {row['epoch']:.1f}  {headline(row)}")

    def row(self, row: Mapping[str, Any], rounds: int) -> None:
        """Print a finished round."""
        told = headline(row)
        self._last = f"  {told}"
        loss = "not finite" if row["loss"] is None else f"{row['loss']:.4f}"
        self.note(
            f"round {row['round']:>{len(str(rounds))}}/{rounds}  density {row['density']:7.2%}  "
            f"{told}  loss {loss}  "
            f"{row['remaining']:,} weights  {row['seconds']:.1f} s"
        )

    def __enter__(self) -> View:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _draw(self, now: float, text: str) -> None:
        self._redraw = now + self._every
        if self._progress is None:
            self.note(text)
        else:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=self._eta.done, description=text)

    def _print(self, console: Console, text: str, style: str | None = None) -> None:
        console.print(text, style=style, **_AS_IT_IS)
