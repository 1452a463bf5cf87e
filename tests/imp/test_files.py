from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from impcore import atomic
from impcore.errors import RunDirectoryError
from impcore.imp.files import Files


def test_files_are_written_in_order_and_all_when_it_ends(tmp_path: Path) -> None:
    held, order = Event(), list[int]()

    def note(number: int) -> Callable[[], None]:
        return lambda: order.append(number)

    with Files() as files:
        files.do(lambda: held.wait() and None)
        for number in range(20):
            files.write(tmp_path / "rows", b"x" * number)
            files.do(note(number))
        assert order == []
        assert not list(tmp_path.iterdir())
        held.set()
    assert order == list(range(20))
    assert (tmp_path / "rows").read_bytes() == b"x" * 19


def test_the_caller_goes_on_meanwhile() -> None:
    with Files() as files:
        writers = list[int]()
        files.do(lambda: writers.append(threading.get_ident())).result()
    assert writers != [threading.get_ident()]


def away(tmp_path: Path) -> None:
    atomic.write(tmp_path / "nowhere" / "rows", b"")


@pytest.mark.parametrize("ask", ["write", "do", "check"])
def test_after_a_failure_nothing_is_written_and_whoever_asks_hears_of_it(
    tmp_path: Path, ask: str
) -> None:
    held = Event()
    asked = []

    def failing() -> None:
        with Files() as files:
            files.do(lambda: held.wait() and None)
            failed = files.do(lambda: away(tmp_path))
            files.write(tmp_path / "later", b"")
            held.set()
            failed.result()
            arguments = {"write": (tmp_path / "last", b""), "do": (lambda: None,), "check": ()}
            asked.append(ask)
            getattr(files, ask)(*arguments[ask])
            asked.append("it was taken")

    with pytest.raises(RunDirectoryError, match="nowhere"):
        failing()
    assert asked == [ask]
    assert not list(tmp_path.iterdir())


def stopping(job: Callable[[], None]) -> None:
    with Files() as files:
        files.do(job)
        raise KeyboardInterrupt


def test_a_failure_comes_before_what_is_said_at_the_end(tmp_path: Path) -> None:
    """Who stops a run is not told that it was saved."""
    with pytest.raises(RunDirectoryError, match="nowhere"):
        stopping(lambda: away(tmp_path))


def test_control_without_a_failure_the_error_of_the_block_is_raised() -> None:
    with pytest.raises(KeyboardInterrupt):
        stopping(lambda: None)
