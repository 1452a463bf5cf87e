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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ARITHMETIC = ("forward", "backward", "optimiser's kernel")
"""What any engine does; the rest is this engine's own."""
REPORT = "report"
LOOP = "loop"


class Clocks:
    """Seconds by part; `default` is what runs outside of all parts."""

    def __init__(self, default: str) -> None:
        self.seconds: Counter[str] = Counter()
        self._stack = [default]
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The clock of `name` runs within the block, and its caller's stands still."""
        self.turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self.turn()
            self._stack.pop()

    def restart(self) -> None:
        """Forget what has been counted; parts that are open go on."""
        self.seconds.clear()
        self._since = time.perf_counter()

    def turn(self) -> None:
        """Give the part that runs what has passed since the last call."""
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def around(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of `owner.name` as a part."""
        setattr(owner, name, self.timed(getattr(owner, name), part))

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """`function`, counted as a part."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return call

    def around_items(self, owner: Any, name: str, part: str) -> None:
        """Count what the iterator that `owner.name` returns takes for each of its items."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = function(*args, **kwargs)
            while True:
                with self.part(part):
                    item = next(items, self)
                if item is self:
                    return
                yield item

        setattr(owner, name, timed)


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
    clocks.around(experiment, "report", REPORT)


def run(arguments: list[str]) -> dict[str, Any]:
    """Run the command line; seconds to the first step, and of each part from there on."""
    from impcore import cli
    from impcore.imp.learner import Learner

    clocks = Clocks(LOOP)
    attach(clocks)
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
    clocks.turn()
    if code != 0:
        raise SystemExit(code)
    return {
        "start": first[0] - float(os.environ["IMPCORE_STARTED"]),
        "seconds": dict(clocks.seconds.most_common()),
        "weights": weights[0],
    }


if __name__ == "__main__":
    found = run(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found))
