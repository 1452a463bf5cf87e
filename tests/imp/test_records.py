from __future__ import annotations

import io
import json
import math
import time

import numpy as np
import pytest

from impcore.imp import records


def test_rows_are_lines_of_json() -> None:
    rows = [{"round": 0, "loss": 0.1}, {"round": 1, "loss": records.finite(math.nan)}]
    lines = records.pack_rows(rows).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"round": 0, "loss": 0.1},
        {"round": 1, "loss": None},
    ]
    assert records.pack_rows([]) == b""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_not_is_never_written(value: float) -> None:
    assert records.finite(value) is None
    with pytest.raises(ValueError, match="JSON"):
        records.pack_rows([{"loss": value}])


def test_a_flow_is_read_back_without_pickle() -> None:
    M = np.array([[0.1, 0.9], [1 / 3, 2 / 3]])
    packed = records.pack_flow(M, M[::-1], ["stage1", "rest"], [10, 8], "trained")
    with np.load(io.BytesIO(packed), allow_pickle=False) as flow:
        assert np.array_equal(flow["M"], M)
        assert np.array_equal(flow["P"], M[::-1])
        assert flow["M"].dtype == np.float64
        assert flow["names"].tolist() == ["stage1", "rest"]
        assert flow["remaining"].tolist() == [10, 8]
        assert flow["remaining"].dtype == np.int64
        assert str(flow["theta"]) == "trained"


def test_the_same_flow_gives_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed() -> bytes:
        return records.pack_flow(np.ones((1, 1)), np.ones((1, 1)), ["a"], [1], "trained")

    first = packed()
    later = time.time() + 1e8
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(later))
    assert packed() == first
