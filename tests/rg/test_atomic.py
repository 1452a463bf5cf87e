"""A file is replaced whole, or left as it was."""

from __future__ import annotations

import errno
import os

import pytest

from impcore.errors import RunDirectoryError
from impcore.rg.atomic import write_bytes


def test_replaces_the_content_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "sigma.csv"
    for content in (b"old", b"", b"new"):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["sigma.csv"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_before_the_rename_keeps_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "sigma.csv"
    path.write_bytes(b"old")
    fired = []

    def fail(*arguments):
        fired.append(arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(RunDirectoryError, match=r"sigma\.csv: cannot be written: No space left"):
        write_bytes(path, b"new")
    assert fired
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["sigma.csv"]
