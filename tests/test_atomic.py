from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from impcore import atomic
from impcore.errors import RunDirectoryError

OLD, NEW = b"old content", b"the new content, which is longer"


def test_writes_and_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic.write(target, OLD)
    assert target.read_bytes() == OLD
    atomic.write(target, iter([NEW[:5], memoryview(NEW)[5:], b""]))
    assert target.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["file"]


def _failing(name: str, code: int, after: int = 0) -> tuple[str, Callable[..., object]]:
    real = getattr(os, name)
    calls = 0

    def fail(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    return name, fail


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (_failing("write", errno.ENOSPC), "No space left"),
        (_failing("write", errno.EIO, after=1), "Input/output error"),
        (_failing("fsync", errno.EIO), "Input/output error"),
        (_failing("replace", errno.EIO), "Input/output error"),
        (("write", lambda descriptor, data: 0), "short write"),
    ],
)
def test_a_fault_keeps_the_old_content_and_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple, named: str
) -> None:
    target = tmp_path / "file"
    atomic.write(target, OLD)
    monkeypatch.setattr(os, *fault)
    with pytest.raises(RunDirectoryError, match=named) as raised:
        atomic.write(target, [NEW[:4], NEW[4:]])
    monkeypatch.undo()
    assert str(target) in str(raised.value)
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("before", [OLD, None])
def test_only_what_was_there_is_said_to_be_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    target = tmp_path / "file"
    if before is not None:
        atomic.write(target, before)
    monkeypatch.setattr(os, *_failing("write", errno.ENOSPC))
    with pytest.raises(RunDirectoryError) as raised:
        atomic.write(target, NEW)
    held = "; what it held before is unchanged" if before is not None else ""
    assert str(raised.value) == (f"{target}: could not be written (No space left on device){held}")


def test_a_directory_that_cannot_be_synced_is_loud_and_no_false_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    atomic.write(target, OLD)
    monkeypatch.setattr(os, *_failing("fsync", errno.EIO, after=1))
    with pytest.raises(RunDirectoryError, match="file: written, but its directory") as raised:
        atomic.write(target, NEW)
    monkeypatch.undo()
    assert "unchanged" not in str(raised.value)
    assert target.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["file"]


def test_directories_are_made_once_and_a_fault_is_loud(tmp_path: Path) -> None:
    atomic.make_directory(tmp_path / "a" / "b")
    atomic.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "c").touch()
    for path, cause in (("c", "File exists"), ("c/d", "Not a directory")):
        with pytest.raises(RunDirectoryError, match=f"{path}: could not be made .{cause}"):
            atomic.make_directory(tmp_path / "a" / path)


def test_each_directory_that_is_made_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = atomic.sync_directory, []

    def sync(path: Path) -> None:
        synced.append((path, os.listdir(path)))
        real(path)

    monkeypatch.setattr(atomic, "sync_directory", sync)
    atomic.make_directory(tmp_path / "a" / "b" / "c")
    assert synced == [
        (tmp_path, ["a"]),
        (tmp_path / "a", ["b"]),
        (tmp_path / "a" / "b", ["c"]),
    ]
    atomic.make_directory(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_a_directory_that_another_process_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def late(path: Path, *arguments: int) -> None:
        real(path, *arguments)
        real(path, *arguments)

    monkeypatch.setattr(os, "mkdir", late)
    atomic.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_partial_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    atomic.write(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_file_size_limit_of_the_kernel_is_a_clean_failure(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic.write(target, OLD)
    script = (
        "import resource, signal, sys; from pathlib import Path; from impcore import atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "atomic.write(Path(sys.argv[1]), bytes(5000))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "RunDirectoryError" in ended.stderr
    assert "File too large" in ended.stderr
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_a_piece_that_cannot_be_made_keeps_the_old_content(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield NEW
        raise ValueError("no more")

    target = tmp_path / "file"
    atomic.write(target, OLD)
    with pytest.raises(ValueError, match="no more"):
        atomic.write(target, pieces())
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_a_left_temporary_is_replaced_even_if_it_is_a_symlink(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(OLD)
    target = tmp_path / "directory" / "file"
    target.parent.mkdir()
    atomic.temporary_of(target).symlink_to(elsewhere)
    atomic.write(target, NEW)
    assert elsewhere.read_bytes() == OLD
    assert target.read_bytes() == NEW
    assert not target.is_symlink()


def test_temporaries_are_removed_and_nothing_else(tmp_path: Path) -> None:
    keep = [tmp_path / "a.tmp", tmp_path / ".lock", tmp_path / "b"]
    for path in [*keep, atomic.temporary_of(tmp_path / "b")]:
        path.write_bytes(OLD)
    atomic.remove_temporaries(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(keep)
