"""The files of a run, written beside its training, in the order in which they were handed over.

Invariant: a file is on disk only if all that were handed over before it are: after one that could
not be written nothing more is, and whoever asks next gets that error. What is handed over lies in
host memory and does not change any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Queue
from threading import Event, Thread

from impcore import atomic
from impcore.imp.signals import Stopped

_WAITING = 8
"""Files that may wait to be written: more of them would only take memory."""


class Files:
    """One thread that writes while a `with` block lasts; after it, everything is on disk.

    Every call raises what a file raised when it was written, such as RunDirectoryError.
    """

    def __init__(self) -> None:
        self._queue = Queue[tuple[Callable[[], None], Event] | None](_WAITING)
        self._failure: BaseException | None = None
        # A daemon, or a run outside of the main thread would lose it when that one ends.
        self._thread = Thread(target=self._work, name="impcore-files", daemon=True)

    def write(self, path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
        """Hand over what `atomic.write` takes."""
        self.do(lambda: atomic.write(path, data))

    def do(self, job: Callable[[], None]) -> Event:
        """Hand over a call, to be made when everything before it has been written.

        Returns what is set after it, also if it failed or was left out.
        """
        self.check()
        done = Event()
        self._queue.put((job, done))
        return done

    def check(self) -> None:
        """Raise if a file could not be written."""
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """False at the end. Holds nothing of what has been written when it returns."""
        handed = self._queue.get()
        if handed is None:
            return False
        job, done = handed
        if self._failure is None:
            try:
                job()
            except BaseException as error:
                self._failure = error
        done.set()
        return True

    def __enter__(self) -> Files:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._queue.put(None)
        self._thread.join()
        # What ended the block says more than a file that was lost with it, but for a stop: that
        # would claim a save which failed.
        if error is None or isinstance(error, Stopped):
            self.check()
