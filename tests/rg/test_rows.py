"""rounds.jsonl: what is read, and how each fault is named."""

from __future__ import annotations

import json
import math

import pytest

from impcore.errors import RunDirectoryError
from impcore.rg.rows import read_rows

GOOD = {
    "round": 0,
    "density": 1.0,
    "remaining": 100,
    "total": 100,
    "accuracy": 0.9,
    "loss": 0.3,
    "seconds": 2,
    "mask_hash": "ab",
}


def write(tmp_path, *lines):
    path = tmp_path / "rounds.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def line(**changes):
    row = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    return json.dumps(row) + "\n"


def test_reads_rows_and_keeps_extra_keys(tmp_path):
    path = write(tmp_path, line(epochs=[1, 2]), line(round=1, remaining=80, density=0.8))
    first, second = read_rows(path)
    assert (first.round, first.remaining, first.seconds) == (0, 100, 2.0)
    assert first.extra == {"epochs": [1, 2]}
    assert (second.remaining, second.density) == (80, 0.8)


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_rows(write(tmp_path, "")) == ()


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_diverged_loss_is_kept_as_such(tmp_path, loss):
    (row,) = read_rows(write(tmp_path, line(loss=loss)))
    assert not math.isfinite(row.loss)


def test_what_was_not_recorded_is_null(tmp_path):
    (row,) = read_rows(
        write(tmp_path, line(accuracy=None, loss=None, seconds=None, mask_hash=None))
    )
    assert math.isnan(row.accuracy)
    assert math.isnan(row.seconds)
    assert row.mask_hash == ""


def test_every_cut_through_the_last_line_is_named(tmp_path):
    second = line(round=1)
    for length in range(1, len(second) - 1):
        path = write(tmp_path, line(), second[:length])
        with pytest.raises(RunDirectoryError, match=r"rounds\.jsonl:2: not a whole JSON object"):
            read_rows(path)


def test_a_last_line_without_newline_is_whole(tmp_path):
    assert len(read_rows(write(tmp_path, line().rstrip("\n")))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", ":1: not a whole JSON object"),
        ("[1]\n", ":1: must be a JSON object"),
        ("[" * 100_000 + "\n", ":1: not a whole JSON object"),
        (line().replace('"round": 0', '"round": 0, "round": 0'), "a key occurs twice"),
        (line(accuracy=..., loss=...), ":1: lacks accuracy, loss"),
        (line(round=1), ":1: round must be 0, not 1"),
        (line(round=0.0), ":1: round must be a 64-bit integer, not 0.0"),
        (line(remaining=True), "remaining must be a 64-bit integer, not True"),
        (line(remaining=2**63), "remaining must be a 64-bit integer"),
        (line(remaining=101), r"remaining must lie in \[0, total\], not 101 of 100"),
        (line(remaining=0, total=0), "not 0 of 0"),
        (line(accuracy=97.5), r"accuracy must lie in \[0, 1\], not 97.5"),
        (line(accuracy=math.nan), r"accuracy must lie in \[0, 1\], not nan"),
        (line(accuracy="0.9"), "accuracy must be a number, not '0.9'"),
        (line(seconds=-1), "seconds must be 0 or more, not -1"),
        (line(seconds=10**400), "seconds is too large"),
        (line(mask_hash=5), "mask_hash must be text, not 5"),
        (line() + line(round=1, total=200), ":2: total must be 100 as before, not 200"),
        (line() + line(), ":2: round must be 1, not 0"),
    ],
)
def test_faults_name_the_line(tmp_path, text, message):
    with pytest.raises(RunDirectoryError, match=message):
        read_rows(write(tmp_path, text))


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"rounds\.jsonl: missing"):
        read_rows(tmp_path / "rounds.jsonl")
    (tmp_path / "rounds.jsonl").mkdir()
    with pytest.raises(RunDirectoryError, match=r"rounds\.jsonl: cannot be read"):
        read_rows(tmp_path / "rounds.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(RunDirectoryError, match="not UTF-8"):
        read_rows(binary)
