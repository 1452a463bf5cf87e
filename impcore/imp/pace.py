"""How often to do what is worth doing often, and costs time each time.

Invariant: doing it whenever it is due takes about `share` of the time at most, however long it
takes, and less where it would be done again too soon to matter. Nothing that depends on the clock
may change a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from time import monotonic


def next_due(step: int, every: Iterable[int], at: Iterable[int]) -> int:
    """The first step after `step` that is a multiple of one of `every`, or one of `at`.

    0 in `every` stands for never. There must be such a step.
    """
    dues = [step + each - step % each for each in every if each]
    return min(due for due in (*dues, *at) if due > step)


class Pace:
    """Due at first, and again once the last time's duration is a `share` (0 to 1) of what passed.

    But no sooner than after `least` seconds, as `clock` tells them.
    """

    def __init__(
        self, share: float, least: float = 0.0, clock: Callable[[], float] = monotonic
    ) -> None:
        self._share, self._least, self._clock = share, least, clock
        self._next = clock()

    def apart(self, seconds: float) -> float:
        """Seconds from the end of what took so many of them until it is due again."""
        return max(self._least, seconds / self._share)

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() >= self._next

    def hold(self) -> None:
        """Not due until it is known how long it took."""
        self._next = inf

    def took(self, seconds: float) -> None:
        """It has just been done, and took so long."""
        self._next = self._clock() + self.apart(seconds)
