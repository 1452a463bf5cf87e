from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from impcore import atomic
from impcore.errors import NonFiniteError, RunDirectoryError
from impcore.imp.files import Files
from impcore.imp.signals import Stopped


def test_files_are_written_in_order_and_all_when_it_ends(tmp_path: Path) -> None:
    held, order = Event(), list[int]()
    with Files() as files:
        files.do(lambda: held.wait() and None)
        for number in range(3):
            files.write(tmp_path / "rows", b"x" * number)
            files.do(lambda number=number: order.append(number))  # type: ignore[misc]
        assert order == []
        assert not list(tmp_path.iterdir())
        held.set()
    assert order == [0, 1, 2]
    assert (tmp_path / "rows").read_bytes() == b"xx"


def test_the_caller_goes_on_meanwhile() -> None:
    with Files() as files:
        writers = list[int]()
        files.do(lambda: writers.append(threading.get_ident())).wait()
    assert writers != [threading.get_ident()]


def test_few_wait_at_a_time() -> None:
    taken, waiting = 0, list[int]()

    def slow() -> None:
        nonlocal taken
        time.sleep(0.01)
        taken += 1

    with Files() as files:
        for number in range(30):
            files.do(slow)
            waiting.append(number + 1 - taken)
    assert taken == 30
    assert 2 < max(waiting) <= 10


def test_nothing_that_has_been_written_is_kept_in_memory() -> None:
    class Large:
        pass

    with Files() as files:
        large = Large()
        kept = weakref.ref(large)
        files.do(lambda large=large: None)  # type: ignore[misc]
        files.do(lambda: None).wait()
        del large
        assert kept() is None


def test_a_run_outside_of_the_main_thread_outlives_it(tmp_path: Path) -> None:
    script = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from impcore.imp.files import Files\n"
        "def run():\n"
        "    with Files() as files:\n"
        "        threading.main_thread().join()\n"
        "        files.write(Path(sys.argv[1]), b'late')\n"
        "threading.Thread(target=run).start()\n"
    )
    path = tmp_path / "rows"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.read_bytes() == b"late"


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
            failed.wait()
            arguments = {"write": (tmp_path / "last", b""), "do": (lambda: None,), "check": ()}
            asked.append(ask)
            getattr(files, ask)(*arguments[ask])
            asked.append("it was taken")

    with pytest.raises(RunDirectoryError, match="nowhere"):
        failing()
    assert asked == [ask]
    assert not list(tmp_path.iterdir())


def ending(job: Callable[[], None], error: Exception) -> None:
    with Files() as files:
        files.do(job)
        raise error


def test_a_stop_does_not_claim_a_save_that_failed(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="nowhere"):
        ending(lambda: away(tmp_path), Stopped(signal.SIGTERM))


def test_control_a_stop_whose_files_are_written_is_one() -> None:
    with pytest.raises(Stopped):
        ending(lambda: None, Stopped(signal.SIGTERM))


def test_what_ended_a_training_is_told_rather_than_a_file_that_was_lost_with_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(NonFiniteError, match="NaN"):
        ending(lambda: away(tmp_path), NonFiniteError("NaN"))
