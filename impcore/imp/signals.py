"""SIGINT and SIGTERM as a request to stop at the next safe point.

Invariant: the first signal interrupts nothing: it is noted, and the run stops itself where its
state is complete. A second one ends the process at once with the same exit code; since every file
is replaced by a rename, that corrupts nothing and loses at most what the last checkpoint lacks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import NoReturn

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_NOTICE = "\nstopping at the next step and saving; once more{} to quit at once\n"
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(Exception):
    """The run stopped because a signal asked for it; `exit_code` is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum


class Stop:
    """Whether a stop has been requested; cheap enough to ask at every step.

    Args:
        passed_on: seconds after the first signal within which a further one is that one again.

    Attributes:
        signum: the signal that the run stops for, None as long as it goes on.
        requested: the signal that this process has been asked to stop by, None before that.
        notice: what to answer the first request with.
    """

    def __init__(self, passed_on: float = 0.0) -> None:
        self.signum: int | None = None
        self.requested: int | None = None
        self.notice = _NOTICE.format(f", {passed_on:g} seconds later," if passed_on else "")
        self._passed_on, self._requested_at = passed_on, 0.0

    def request(self, signum: int) -> bool:
        """Note the first request, and return whether this is it; end the process on a second."""
        if self.requested is None:
            self.requested, self._requested_at = signum, monotonic()
            self._take(signum)
            return True
        if monotonic() - self._requested_at >= self._passed_on:
            quit_at_once(signum)
        return False

    def _take(self, signum: int) -> None:
        """Stop for a request of this process, which is all that there is."""
        self.signum = signum

    def pending(self) -> bool:
        """Whether to save after this step and stop: to be asked once a step."""
        return self.signum is not None

    def check(self) -> None:
        """Raise Stopped if a stop has been requested: for places where nothing needs saving."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def check_alone(self) -> None:
        """`check`, where not every process of the run is."""
        self.check()


def quit_at_once(signum: int) -> NoReturn:
    """End the process without unwinding, with the exit code of the signal."""
    if os.isatty(1):
        os.write(1, _SHOW_CURSOR)
    os._exit(128 + signum)


@contextmanager
def watch(stop: Stop | None = None, *, say: bool = True) -> Iterator[Stop]:
    """Handle SIGINT and SIGTERM within the block, and restore the old handlers after it.

    They request `stop` (a new one unless given) to stop; with `say`, a line tells of that at once.

    Outside the main thread Python allows no handlers: the `Stop` is then never requested by a
    signal, and signals keep the meaning the caller gave them.
    """
    stop = stop or Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        if stop.request(signum) and say:
            os.write(2, stop.notice.encode())

    old = {signum: signal.signal(signum, handler) for signum in _WATCHED}
    try:
        yield stop
    finally:
        for signum, previous in old.items():
            signal.signal(signum, previous)
