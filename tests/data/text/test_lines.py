from __future__ import annotations

from pathlib import Path

import pytest

from impcore.data.text.lines import read_lines, read_table
from impcore.errors import DataError


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "table.tsv"
    path.write_bytes(data)
    return path


def test_crlf_bom_and_empty_lines_at_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfa\tb\r\n1\t2\r\n3\t4\r\n\r\n\n")
    assert read_lines(path) == ["a\tb", "1\t2", "3\t4"]
    assert list(read_table(path, ["b", "a"])) == [(2, ("2", "1")), (3, ("4", "3"))]


def test_quotes_and_separators_of_unicode_are_letters(tmp_path: Path) -> None:
    path = written(tmp_path, 'a\n"it\u2028\n\x0c""x\n'.encode())
    assert [cells for _, cells in read_table(path, ["a"])] == [('"it\u2028',), ('\x0c""x',)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "table.tsv: is empty"),
        (b"\n\n", "table.tsv: is empty"),
        (b"a\tc\n1\t2\n", r"table\.tsv, line 1: has no column 'b'; it has \['a', 'c'\]"),
        (b"a\tb\n1\t2\n\n3\t4\n", r"table\.tsv, line 3: is empty"),
        (b"a\tb\n1\t2\n3\n", r"table\.tsv, line 3: has 1 columns, 2 are needed: '3'"),
        (b"a\tb\n1\t\xff\n", r"table\.tsv, line 2: is not UTF-8"),
    ],
)
def test_faults_are_named_by_file_and_line(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_table(written(tmp_path, data), ["a", "b"]))


def test_rows_that_are_cut_are_left_out_as_many_as_are_known(tmp_path: Path) -> None:
    path = written(tmp_path, b"a\tb\n1\t2\ncut\nagain\n3\t4\n")
    assert [number for number, _ in read_table(path, ["b"], may_be_cut=2)] == [2, 5]
    with pytest.raises(DataError, match="line 4: has 1 columns"):
        list(read_table(path, ["b"], may_be_cut=1))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tsv: No such file"):
        read_lines(tmp_path / "none.tsv")
