"""How long is left, from the pace of late.

Invariant: an estimate rests on steps that came after the first, which warms up (memory, kernels,
compilation), and on the later half of the time or more, so that a pace that changes for good is
soon the only one that counts. What happens between steps (evaluation, saving) is part of the pace.
"""

from __future__ import annotations

import math

LEAST_SECONDS = 3.0
"""Time behind the first step without which nothing is said."""


class Eta:
    """Counts steps from now on; `now` is in seconds, of any clock that only goes forward."""

    def __init__(self) -> None:
        self.done = 0
        """Steps counted."""
        self._due = -math.inf
        self._from: tuple[float, int] | None = None
        self._next: tuple[float, int] = (0.0, 0)
        self._first = 0.0

    def step(self, now: float) -> None:
        """Count a step that ended at `now`."""
        self.done += 1
        if now < self._due:
            return
        if self._from is None:
            self._first = now
            self._from = self._next = (now, self.done)
        else:
            self._from, self._next = self._next, (now, self.done)
        self._due = self._first + max(2 * (now - self._first), LEAST_SECONDS)

    def seconds(self, now: float, left: int) -> float | None:
        """Seconds that `left` steps will take after `now`; None while nothing can be said."""
        if self._from is None:
            return None
        since, counted = self._from
        if self.done == counted or now - self._first < LEAST_SECONDS:
            return None
        return (now - since) / (self.done - counted) * left
