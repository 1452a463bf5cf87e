"""A small table that prints in a terminal and renders in a notebook or a report.

Invariant: one `Table` is the only description of what a result shows; terminal, notebook and report
differ in its rendering alone. Whatever a name contains, the rendered HTML holds it as text.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WORDS = ("relevant", "irrelevant", "marginal", "collapsed")  # coloured where HTML shows them


@dataclass(frozen=True)
class Table:
    """A title, headers, and rows of text; the first column names the row."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
        """From any sequences; every row must have a cell for every header."""
        for row in rows:
            if len(row) != len(headers):
                raise ValueError(f"a row must have {len(headers)} cells, not {len(row)}: {row}")
        return cls(title, tuple(headers), tuple(tuple(row) for row in rows))

    def __str__(self) -> str:
        cells = [[_plain(cell) for cell in row] for row in (self.headers, *self.rows)]
        widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
        return "\n".join([*filter(None, [self.title]), *_lines(cells, widths)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.headers)
        body = "".join(
            f"<tr><th>{html.escape(row[0])}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Shown:
    """What prints as its table: `print(x)` in a terminal, `x` in a notebook."""

    def table(self) -> Table:
        """What this result shows."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _plain(cell: str) -> str:
    """One line, with an ASCII minus: a terminal's reader may paste the number elsewhere."""
    line = cell.replace("−", "-").replace("\n", " ")
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([first, *rest]).rstrip()
