"""Reading text files line by line, and tab-separated tables in the dialect of GLUE.

Invariant: a fault is a DataError that names the file and the line; quotes are letters like others,
since GLUE's files quote nothing; LF and CRLF both end a line, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from impcore.errors import DataError

_BOM = "\ufeff"


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without their ends; empty lines at its end are left out.

    Raises:
        DataError: the file is missing, cannot be read, or a line is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: is not UTF-8") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: is empty")
    return lines


def read_table(
    path: Path, wanted: Sequence[str], header: Sequence[str] | None = None, may_be_cut: int = 0
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (line number, the wanted columns) of each row of a tab-separated file.

    Args:
        path: the file; its first line names the columns unless `header` does.
        wanted: names of columns.
        header: the columns of a file without a header.
        may_be_cut: as many rows may lack columns, and are left out: faults of the official file.

    Raises:
        DataError: a column is missing, a line is empty, or more rows lack columns.
    """
    lines = read_lines(path)
    first = 1 if header is not None else 2
    columns = lines[0].split("\t") if header is None else list(header)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"{path}, line 1: has no column {', '.join(map(repr, missing))}; it has {columns}"
        )
    places = [columns.index(name) for name in wanted]
    for number, line in enumerate(lines[first - 1 :], start=first):
        if not line:
            raise DataError(f"{path}, line {number}: is empty")
        cells = line.split("\t")
        if len(cells) <= max(places):
            may_be_cut -= 1
            if may_be_cut >= 0:
                continue
            raise DataError(
                f"{path}, line {number}: has {len(cells)} columns, {max(places) + 1} are needed: "
                f"{line[:80]!r}"
            )
        yield number, tuple(cells[place] for place in places)
