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
from types import FrameType
from typing import NoReturn

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping at the next step and saving; once more to quit at once\n"
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(Exception):
    """The run stopped because a signal asked for it; `exit_code` is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum


class Stop:
    """Whether a stop has been requested; cheap enough to ask at every step.

    Attributes:
        signum: the signal that the run stops for, None as long as it goes on.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def request(self, signum: int) -> None:
        """Note the first request; end the process at once on a second."""
        if self.signum is not None:
            quit_at_once(signum)
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
        stop.request(signum)
        if say:
            os.write(2, _NOTICE)

    old = {signum: signal.signal(signum, handler) for signum in _WATCHED}
    try:
        yield stop
    finally:
        for signum, previous in old.items():
            signal.signal(signum, previous)
