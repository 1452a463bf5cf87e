"""The files of a run, written beside its training, in the order in which they were handed over.

Invariant: a file is on disk only if all that were handed over before it are: after one that could
not be written nothing more is, and whoever asks next gets that error. What is handed over lies in
host memory and does not change any more. (A copy from a GPU that another thread makes while a step
is being captured would spoil the capture.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from impcore import atomic


class Files:
    """One thread that writes; a context manager that has written everything when it ends.

    Every call raises what an earlier file raised when it was written, such as RunDirectoryError.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="impcore-files")
        self._failure: BaseException | None = None

    def write(self, path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
        """Hand over what `atomic.write` takes."""
        self.do(lambda: atomic.write(path, data))

    def do(self, job: Callable[[], None]) -> Future[None]:
        """Hand over a call, to be made when everything before it has been written."""
        self.check()
        return self._thread.submit(self._make, job)

    def _make(self, job: Callable[[], None]) -> None:
        if self._failure is None:
            try:
                job()
            except BaseException as error:
                self._failure = error

    def check(self) -> None:
        """Raise if a file could not be written."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if error is not self._failure:
            self.check()  # a run that says it was stopped has saved
