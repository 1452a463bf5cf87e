from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from impcore.errors import CheckpointError, RunDirectoryError
from impcore.imp.checkpoint import Checkpoints


class Store:
    """Checkpoints whose state number i says that it is number i."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        self.checkpoints = Checkpoints(directory, self.warnings.append)

    def save(self, number: int) -> Path:
        tensor = torch.full((5,), number)
        write = self.checkpoints.pack({"number": number}, {"w": tensor})
        tensor.zero_()  # what has been packed is a copy
        write()
        return max(self.directory.glob("0*.safetensors"))

    def load(self) -> int | None:
        state = self.checkpoints.load()
        if state is None:
            return None
        assert state.tensors["w"].tolist() == [state.content["number"]] * 5
        assert set(state.content) == {"number"}
        return int(state.content["number"])

    def again(self) -> Store:
        return Store(self.directory)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_keeps_the_two_newest_and_loads_the_newest(store: Store) -> None:
    assert store.load() is None
    for number in range(5):
        store.save(number)
        assert len(os.listdir(store.directory)) == min(number + 1, 2)
    assert store.again().load() == 4
    assert not store.warnings


def test_the_generation_decides_and_no_clock(store: Store) -> None:
    older, newer = store.save(1), store.save(2)
    os.utime(newer, (0, 0))
    os.utime(older, (time.time() + 1e6,) * 2)
    assert store.again().load() == 2


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def _oversize(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


def _swap_for_older(path: Path) -> None:
    shutil.copy(sorted(path.parent.iterdir())[0], path)


def _link(path: Path) -> None:
    path.rename(path.parent / "away")
    path.symlink_to(path.parent / "away")


FAULTS = [_truncate, _empty, _flip, _oversize, _swap_for_older, _link]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_newest_is_reported_and_the_previous_used(store: Store, fault) -> None:
    store.save(1)
    newest = store.save(2)
    fault(newest)
    again = store.again()
    assert again.load() == 1
    assert len(again.warnings) == 1
    assert str(newest) in again.warnings[0]
    assert "resuming from the checkpoint before it" in again.warnings[0]
    third = again.save(3)
    assert third > newest
    assert not newest.exists()
    _flip(third)
    assert again.again().load() == 1


def test_control_an_undamaged_newest_is_used_without_a_word(store: Store) -> None:
    store.save(1)
    store.save(2)
    again = store.again()
    assert again.load() == 2
    assert not again.warnings


@pytest.mark.parametrize("fault", [_truncate, _flip, _empty])
def test_nothing_whole_is_an_error_and_changes_nothing(store: Store, fault) -> None:
    paths = [store.save(1), store.save(2)]
    for path in paths:
        fault(path)
    before = [path.read_bytes() for path in paths]
    with pytest.raises(CheckpointError, match="no checkpoint of this run is whole") as raised:
        store.again().load()
    assert all(str(path) in str(raised.value) for path in paths)
    assert [path.read_bytes() for path in paths] == before


def test_every_truncation_of_the_newest_falls_back(store: Store) -> None:
    store.save(1)
    newest = store.save(2)
    whole = newest.read_bytes()
    for length in range(0, len(whole), 7):
        newest.write_bytes(whole[:length])
        assert store.again().load() == 1


def test_a_full_disk_keeps_both_old_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(1)
    store.save(2)

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in store.directory.iterdir()}
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunDirectoryError, match="No space left on device"):
        store.save(3)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in store.directory.iterdir()} == before
    again = store.again()
    assert again.load() == 2
    assert again.save(3).name == "000000000003.safetensors"
    assert store.again().load() == 3


def test_an_old_one_that_cannot_be_removed_is_a_typed_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(1)
    store.save(2)

    real = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if not path.name.startswith("."):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(RunDirectoryError, match=r"could not be removed \(Operation not permitted"):
        store.save(3)
    monkeypatch.undo()
    assert store.again().load() == 3


def test_other_files_are_no_checkpoints(store: Store) -> None:
    for name in ("000000000009.pt", "9.safetensors", ".000000000009.safetensors.tmp"):
        (store.directory / name).write_bytes(b"x")
    assert store.load() is None
    store.save(1)
    assert store.again().load() == 1
