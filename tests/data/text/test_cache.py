from __future__ import annotations

import errno
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from impcore import lock
from impcore.data.text import cache
from impcore.errors import DataError

MADE = {"tokens": np.arange(5, dtype=np.int32), "starts": np.array([0, 5])}


class Maker:
    calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return MADE


def files(folder: Path) -> list[Path]:
    return sorted((folder / "tokens").glob("*.safetensors"))


def same(found: dict) -> bool:
    return all(np.array_equal(found[name].numpy(), array) for name, array in MADE.items())


def test_made_once_for_each_key(cache_of_the_test: Path) -> None:
    maker = Maker()
    for _ in range(3):
        assert same(cache.arrays({"a": 1}, maker))
    assert maker.calls == 1
    assert same(cache.arrays({"a": 2}, maker))
    assert maker.calls == 2
    assert len(files(cache_of_the_test)) == 2


def test_unwritten_it_reads_what_is_there_and_makes_the_rest_in_memory(
    cache_of_the_test: Path,
) -> None:
    maker = Maker()
    with cache.unwritten():
        for calls in (1, 2):
            assert same(cache.arrays({"a": 1}, maker))
            assert maker.calls == calls
    assert not cache_of_the_test.exists()
    cache.arrays({"a": 1}, maker)
    before = sorted(cache_of_the_test.rglob("*"))
    with cache.unwritten():
        assert same(cache.arrays({"a": 1}, maker))
    assert maker.calls == 3
    assert sorted(cache_of_the_test.rglob("*")) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign"])
def test_a_damaged_file_is_made_again_loudly(
    cache_of_the_test: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    maker = Maker()
    cache.arrays({"a": 1}, maker)
    (path,) = files(cache_of_the_test)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()  # not in place: a memory map of the old file may be alive
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-9]), "foreign": b"{}"}[damage])
    with caplog.at_level(logging.WARNING):
        assert same(cache.arrays({"a": 1}, maker))
    assert maker.calls == 2
    assert caplog.text.count(": damaged (") == 1
    assert same(cache.arrays({"a": 1}, maker))
    assert maker.calls == 2


def test_what_is_there_is_read_without_a_lock(
    cache_of_the_test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.arrays({"a": 1}, Maker())
    for path in (cache_of_the_test / "tokens").glob("*.lock"):
        path.unlink()
    monkeypatch.setattr(lock.fcntl, "flock", None)  # as on a file system that has none
    assert same(cache.arrays({"a": 1}, Maker()))
    assert list((cache_of_the_test / "tokens").iterdir()) == files(cache_of_the_test)


def _made(marker: Path) -> dict[str, np.ndarray]:
    with marker.open("a") as file:
        file.write("made\n")
    return MADE


def _use(marker: Path) -> None:
    assert same(cache.arrays({"a": 1}, lambda: _made(marker)))


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_use, args=(marker,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert marker.read_text() == "made\n"


def test_a_cache_that_cannot_be_written_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IMPCORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be used.*\$IMPCORE_CACHE"):
        cache.arrays({}, Maker())
    monkeypatch.delenv("IMPCORE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.directory() == Path("/x/impcore")


def test_a_full_disk_names_the_way_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*\$IMPCORE_CACHE"):
        cache.arrays({}, Maker())
    assert not list(cache.directory().rglob("*.safetensors"))
