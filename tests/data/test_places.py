import pytest

from impcore.data import places
from impcore.errors import DataError


def test_a_folder_with_all_its_files(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").touch()
    (tmp_path / "set" / "b").mkdir()
    assert places.find("x", tmp_path, "set", ("a", "b"), "ask") == tmp_path / "set"
    monkeypatch.setenv("IMPCORE_DATA", str(tmp_path))
    assert places.find("x", None, "set", ("a", "b"), "ask") == tmp_path / "set"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.find("x", "~", "set", ("a",), "ask") == tmp_path / "set"


def test_what_is_missing_is_named_with_where_and_how(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").touch()
    with pytest.raises(DataError, match=rf"x: b, c missing from {tmp_path}/set; ask"):
        places.find("x", tmp_path, "set", ("a", "b", "c"), "ask")
    monkeypatch.delenv("IMPCORE_DATA", raising=False)
    with pytest.raises(DataError, match=r"x: no folder given for set \(a\): .*\[data\].*; ask"):
        places.find("x", None, "set", ("a",), "ask")


def test_files_right_under_the_root(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    assert places.find("x", tmp_path, "", ("a",), "ask") == tmp_path
    monkeypatch.delenv("IMPCORE_DATA", raising=False)
    with pytest.raises(DataError, match=r"x: no folder given for a, b: set `root`"):
        places.find("x", None, "", ("a", "b"), "ask")
