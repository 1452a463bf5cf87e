"""Timing: contenders take turns, every sample begins alike, and medians are compared.

Machines are noisy, so only times that were taken in turns are worth comparing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

Run = Callable[[], object]


def nothing() -> None:
    """The preparation of a case that needs none."""


@dataclass
class Case:
    """One contender: `prepare` is not timed, `run` is.

    Attributes:
        repeats: fewer than the others', for a contender that takes seconds.
        queued: on a GPU, begin behind work that is still queued, so that launches cost nothing.
    """

    name: str
    run: Run
    prepare: Run = nothing
    repeats: int | None = None
    queued: bool = False


class Clock(Protocol):
    """Takes one sample of a case.

    Attributes:
        warms_all: whether slow cases too need an untimed turn.
    """

    warms_all: bool

    def sample(self, case: Case) -> float:
        """Prepares and runs a case once; milliseconds of the run."""
        ...


class HostClock:
    """Wall time."""

    warms_all = False

    def sample(self, case: Case) -> float:
        """Prepares and runs a case once; milliseconds of the run."""
        case.prepare()
        begin = perf_counter()
        case.run()
        return (perf_counter() - begin) * 1e3


LEAST = 3  # samples that a case has, however short the time


def measure(
    cases: Sequence[Case],
    repeats: int,
    clock: Clock | None = None,
    *,
    seconds: float = math.inf,
    failed: dict[str, str] | None = None,
) -> dict[str, float]:
    """Median milliseconds of each case; they take turns, after an untimed one of the fast ones.

    Args:
        cases: in the order of a turn.
        repeats: turns.
        clock: takes the samples; the host's unless given.
        seconds: begin no more turns after this long, once each case has LEAST samples.
        failed: takes the reasons of cases that raise, which then drop out; None: they are raised.
    """
    clock = clock or HostClock()
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    running = list(cases)
    begin = perf_counter()
    for turn in range(-1, repeats):
        if turn >= LEAST and perf_counter() - begin > seconds:
            break
        for case in list(running):
            slow = case.repeats is not None
            if (slow and turn >= case.repeats) or (turn < 0 and slow and not clock.warms_all):
                continue
            try:
                sample = clock.sample(case)
            except Exception as error:
                if failed is None:
                    raise
                failed[case.name] = reason(error)
                running.remove(case)
                continue
            if turn >= 0:
                times[case.name].append(sample)
    alive = {case.name for case in running}
    return {name: statistics.median(t) for name, t in times.items() if t and name in alive}


def reason(error: Exception) -> str:
    """An error in one line, for a table."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:160]
