from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from impcore import lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_one_has_it_at_a_time(path: Path) -> None:
    first = lock.claim(path)
    assert first is not None
    assert lock.claim(path) is None
    os.close(first)
    with lock.held(path):
        assert lock.claim(path) is None
    second = lock.claim(path)
    assert second is not None
    os.close(second)


def test_whoever_wants_to_hold_it_waits(path: Path) -> None:
    done: list[str] = []

    def wait() -> None:
        with lock.held(path):
            done.append("second")

    with lock.held(path):
        second = threading.Thread(target=wait)
        second.start()
        second.join(0.05)
        done.append("first")
    second.join(60)
    assert done == ["first", "second"]


def test_it_ends_with_its_process(path: Path) -> None:
    code = f"import os, pathlib; from impcore import lock; lock.claim(pathlib.Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", f"{code}; os.abort()"], capture_output=True)
    with lock.held(path):
        pass


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK])
def test_a_file_system_says_in_two_ways_that_another_has_it(
    code: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    if code == errno.ENOLCK:
        with pytest.raises(OSError, match=os.strerror(code)):
            lock.claim(path)
    else:
        assert lock.claim(path) is None
    assert len(os.listdir("/dev/fd")) == before


def test_a_symbolic_link_is_refused(path: Path) -> None:
    mine = path.with_name("mine")
    mine.write_bytes(b"mine")
    path.symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        lock.claim(path)
    with pytest.raises(OSError, match="symbolic links"), lock.held(path):
        pass
    assert mine.read_bytes() == b"mine"
