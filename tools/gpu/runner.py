"""Runs stages one after the other under time limits, and keeps all that they say in one log."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from stages import ROOT, Stage

GRACE = 20
"""Seconds between asking a stage to end, so that pytest tells what failed, and killing it."""


class Ended:
    """How a stage ended: its exit code, what it said, its seconds, and whether time ran out."""

    def __init__(self, code: int, lines: list[str], seconds: float, late: bool) -> None:
        self.code, self.lines, self.seconds, self.late = code, lines, seconds, late


def run(stage: Stage, limit: float, environment: Mapping[str, str], log: Path) -> Ended:
    """Runs a stage for `limit` seconds at most; its output goes to the log and the terminal."""
    begin, lines = monotonic(), []
    with _heeding_interrupts():
        process = subprocess.Popen(
            stage.command,
            cwd=ROOT,
            env={**os.environ, **environment, **stage.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # not a session: whoever ends this one's ends the stage too
        )
    assert process.stdout is not None
    late = threading.Event()
    timers = [
        threading.Timer(limit, _end, (process, signal.SIGINT, late)),
        threading.Timer(limit + GRACE, _end, (process, signal.SIGKILL, late)),
    ]
    for timer in timers:
        timer.start()
    try:
        with log.open("a") as file:
            for line in process.stdout:
                print(line, end="", file=file, flush=True)
                print(line, end="", flush=True)
                lines.append(line.rstrip("\n"))
        code = process.wait()
    finally:
        for timer in timers:
            timer.cancel()
        _end(process, signal.SIGKILL)
    return Ended(code, lines, monotonic() - begin, late.is_set())


@contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """What is started meanwhile heeds SIGINT, even if this process has been told to ignore it.

    A shell's script tells so what it starts in the background, and children take that over.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(
    process: subprocess.Popen[str], signum: signal.Signals, late: threading.Event | None = None
) -> None:
    """Signals the stage: its first process at first, in the end all that it started."""
    if late is not None:
        late.set()
    with suppress(ProcessLookupError):
        if signum == signal.SIGKILL:
            os.killpg(process.pid, signum)
        else:
            process.send_signal(signum)
