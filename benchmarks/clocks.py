"""Where the time of a run goes: `impcore-run` in this process, with clocks around its parts.

    python benchmarks/clocks.py OUT.json RECIPE [--table.key VALUE ...]

Invariant: clocks are exclusive. A part stops the clock of the part that it interrupts, so that all
of them add up to the time from the first training step to the end of the process's work. The time
before is counted from IMPCORE_STARTED, seconds since the epoch, which `bench_run.py` sets.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

ARITHMETIC = ("forward", "backward", "optimiser's kernel")
"""What any engine does; the rest is this engine's own."""
REPORT = "report"
LOOP = "loop"
_END = -1


class Clocks:
    """Seconds by part; `default` is what runs outside of all parts.

    What is measured leaves nothing in the cache that a clock needs, so a clock does next to nothing
    then: it notes a time. Sums are made at the end.
    """

    def __init__(self, default: str) -> None:
        self._parts = [default]
        # A part's number as it begins, or _END, before each time. Numbers, unlike tuples, are
        # nothing for the garbage collector to look through.
        self._notes: list[float] = [0, time.perf_counter()]

    def restart(self) -> None:
        """Forget what has been counted; parts that are open go on."""
        now, open_ = time.perf_counter(), list[float]()
        for what in self._notes[::2]:
            if what == _END:
                open_.pop()
            else:
                open_.append(what)
        self._notes[:] = [note for what in open_ for note in (what, now)]

    def seconds(self) -> dict[str, float]:
        """What each part has taken, the most first; what is open counts until now."""
        notes = [*self._notes, _END, time.perf_counter()]
        found: Counter[str] = Counter()
        open_: list[int] = []
        since = notes[1]
        for what, when in zip(notes[::2], notes[1::2], strict=True):
            if open_:
                found[self._parts[open_[-1]]] += when - since
            since = when
            if what == _END:
                open_.pop()
            else:
                open_.append(int(what))
        return dict(found.most_common())

    def around(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of `owner.name` as a part."""
        setattr(owner, name, self.timed(getattr(owner, name), part))

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """`function`, counted as a part."""
        number, note, clock = self._number(part), self._notes.append, time.perf_counter

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            note(number)
            note(clock())
            try:
                return function(*args, **kwargs)
            finally:
                note(_END)
                note(clock())

        return call

    def around_items(self, owner: Any, name: str, part: str) -> None:
        """Count what the iterator that `owner.name` returns takes for each of its items."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            following = self.timed(function(*args, **kwargs).__next__, part)
            while True:
                try:
                    item = following()
                except StopIteration:
                    return
                yield item

        setattr(owner, name, timed)

    def _number(self, part: str) -> int:
        if part not in self._parts:
            self._parts.append(part)
        return self._parts.index(part)


def attach(clocks: Clocks) -> None:
    """Put clocks around the parts of a run of images on the CPU."""
    from impcore import _C
    from impcore.data import DeviceBatches
    from impcore.imp import experiment, rounds, tasks
    from impcore.imp.learner import Learner
    from impcore.imp.rounds import Rounds
    from impcore.optim import MaskedAdamW, MaskedSGD

    clocks.around(tasks.Task, "forward", "forward")
    for name, task in tasks.TASKS.items():
        tasks.TASKS[name] = replace(task, loss=clocks.timed(task.loss, "forward"))  # type: ignore[index]
    clocks.around(Learner, "_backward", "backward")  # and giving back what autograd held
    for kernel in ("masked_sgd", "masked_adamw"):
        clocks.around(_C, kernel, "optimiser's kernel")
    for optimizer in (MaskedSGD, MaskedAdamW):
        clocks.around(optimizer, "step", "optimiser's Python")
        clocks.around(optimizer, "zero_grad", "optimiser's Python")
    clocks.around_items(DeviceBatches, "epoch", "batches")
    clocks.around_items(DeviceBatches, "eval_batches", "batches")
    clocks.around(rounds, "scores", "evaluation")
    clocks.around(Rounds, "_save", "checkpoints")
    clocks.around(Rounds, "_keep", "checkpoints")
    clocks.around(Rounds, "_prune", "prune and rewind")
    clocks.around(experiment, "_load_report", REPORT)
    clocks.around(experiment, "report", REPORT)


def count_writing() -> list[float]:
    """Seconds of a core that the thread which writes files takes, file by file, from now on."""
    from impcore.imp.files import Files

    do, seconds = Files.do, list[float]()

    def counted(self: Files, job: Callable[[], None]) -> Event:
        def timed() -> None:
            since = time.thread_time()
            job()
            seconds.append(time.thread_time() - since)

        return do(self, timed)

    Files.do = counted  # type: ignore[method-assign]
    return seconds


def run(arguments: list[str]) -> dict[str, Any]:
    """Run the command line; seconds to the first step, and of each part from there on.

    "beside" are those of a core that files took beside all that.
    """
    from impcore import cli
    from impcore.imp.learner import Learner

    clocks = Clocks(LOOP)
    attach(clocks)
    writing = count_writing()
    first: list[float] = []
    weights: list[int] = []
    step: Callable[..., Any] = Learner._step

    def stepped(self: Learner, *args: Any, **kwargs: Any) -> Any:
        if not first:
            first.append(time.time())
            weights.append(self.masks.total)
            clocks.restart()
        return step(self, *args, **kwargs)

    Learner._step = stepped  # type: ignore[method-assign]
    code = cli.main(arguments)
    seconds = clocks.seconds()
    if code != 0:
        raise SystemExit(code)
    return {
        "start": first[0] - float(os.environ["IMPCORE_STARTED"]),
        "seconds": seconds,
        "beside": sum(writing),
        "weights": weights[0],
    }


if __name__ == "__main__":
    found = run(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found))
