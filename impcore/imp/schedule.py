"""How many weights remain after each prune, exactly.

Invariant: a schedule is a strictly falling list of R + 1 positive integers that starts at the
number of prunable weights. It is fixed before the first step, so a run cannot drift from it.

    geometric  r(n+1) = r(n) - round(rate * r(n))      the paper's 20 % of what remains
    linear     r(n)   = round(total * (1 - rate * n))  10 % of the original: 1, .9, .8, ...
    explicit   r(n)   = round(total * densities[n-1])

`round` is Python's (halves to even), as torch.nn.utils.prune and the published code bases have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from impcore.errors import ConfigError


def _geometric(total: int, rounds: int, rate: float, densities: Sequence[float]) -> list[int]:
    counts = [total]
    for _ in range(rounds):
        counts.append(counts[-1] - round(rate * counts[-1]))
    return counts


def _linear(total: int, rounds: int, rate: float, densities: Sequence[float]) -> list[int]:
    return [round(total * (1 - rate * n)) for n in range(rounds + 1)]


def _explicit(total: int, rounds: int, rate: float, densities: Sequence[float]) -> list[int]:
    if len(densities) != rounds:
        raise ConfigError(
            f"prune.densities: {len(densities)} densities for prune.rounds = {rounds}; "
            "an explicit schedule needs one density a prune"
        )
    return [total, *(round(total * density) for density in densities)]


_Schedule = Callable[[int, int, float, Sequence[float]], list[int]]
SCHEDULES: Mapping[str, _Schedule] = {
    "geometric": _geometric,
    "linear": _linear,
    "explicit": _explicit,
}


def remaining(
    total: int, schedule: str, rounds: int, rate: float, densities: Sequence[float] = ()
) -> list[int]:
    """The number of weights alive in each trained state n = 0 ... rounds: rounds + 1 integers.

    `total` is the number of prunable weights, `schedule` a name in SCHEDULES. Raises ConfigError
    if a round would prune nothing, or would leave nothing.
    """
    return [count for (count,) in remaining_each([total], schedule, rounds, rate, densities)]


def remaining_each(
    totals: Sequence[int], schedule: str, rounds: int, rate: float, densities: Sequence[float] = ()
) -> list[list[int]]:
    """The same for parts that follow the schedule each by itself: [rounds + 1][parts].

    Raises ConfigError if a round would prune nothing, or would leave nothing, of all of them.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"prune.schedule: {schedule!r}; should be one of {', '.join(SCHEDULES)}")
    parts = [SCHEDULES[schedule](total, rounds, rate, densities) for total in totals]
    states = [list(state) for state in zip(*parts, strict=True)]
    _check([sum(state) for state in states], schedule)
    return states


def _check(counts: Sequence[int], schedule: str) -> None:
    total, rounds = counts[0], len(counts) - 1
    for n, (before, after) in enumerate(pairwise(counts)):
        if after < 1:
            raise ConfigError(
                f"prune.rounds: {rounds}; prune {n + 1} of the {schedule} schedule leaves {after} "
                f"of {total} weights; at least 1 must remain, so use at most {n} rounds"
            )
        if after >= before:
            raise ConfigError(
                f"prune: prune {n + 1} of the {schedule} schedule goes from {before} to {after} "
                f"of {total} weights; each prune must remove at least 1"
            )
