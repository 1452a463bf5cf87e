from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from impcore.imp import records


def test_rows_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    rows = [{"round": 0, "loss": 0.1}, {"round": 1, "loss": records.finite(math.nan)}]
    records.write_rows(path, rows)
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"round": 0, "loss": 0.1},
        {"round": 1, "loss": None},
    ]
    records.write_rows(path, [])
    assert path.read_bytes() == b""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_not_is_never_written(tmp_path: Path, value: float) -> None:
    assert records.finite(value) is None
    with pytest.raises(ValueError, match="JSON"):
        records.write_rows(tmp_path / "rounds.jsonl", [{"loss": value}])
    assert not list(tmp_path.iterdir())


def test_a_flow_is_read_back_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "flow.npz"
    M = np.array([[0.1, 0.9], [1 / 3, 2 / 3]])
    records.write_flow(path, M, M[::-1], ["stage1", "rest"], [10, 8], "trained")
    with np.load(path, allow_pickle=False) as flow:
        assert np.array_equal(flow["M"], M)
        assert np.array_equal(flow["P"], M[::-1])
        assert flow["M"].dtype == np.float64
        assert flow["names"].tolist() == ["stage1", "rest"]
        assert flow["remaining"].tolist() == [10, 8]
        assert flow["remaining"].dtype == np.int64
        assert str(flow["theta"]) == "trained"


def test_the_same_flow_gives_the_same_bytes_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str) -> bytes:
        M = np.ones((1, 1))
        records.write_flow(tmp_path / name, M, M, ["a"], [1], "trained")
        return (tmp_path / name).read_bytes()

    first = write("a")
    later = time.time() + 1e8
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(later))
    assert write("b") == first
