"""What a check found, a row a thing, and the table of it.

Invariant: a row says what was looked at, whether a run would fail for it, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


@dataclass
class Findings:
    """The rows so far: (what, "ok" | "warning" | "fault", text)."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How many things a run would fail for."""
        return sum(verdict == "fault" for _, verdict, _ in self.rows)

    def note(self, what: str, text: str) -> None:
        """Something is as it should be."""
        self.rows.append((what, "ok", text))

    def warn(self, what: str, text: str) -> None:
        """Something to know, for which a run would not fail."""
        self.rows.append((what, "warning", text))

    def fault(self, what: str, text: str) -> None:
        """Something that a run would fail for."""
        self.rows.append((what, "fault", text))

    def show(self, console: Console) -> None:
        """Print the table, and a line that sums it up."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for what, verdict, text in self.rows:
            table.add_row(Text(what), Text(verdict, style=_STYLES[verdict]), Text(text))
        console.print(table)
        count = f"{self.faults} fault{'s' * (self.faults > 1)}" if self.faults else "no fault"
        console.print(f"{count}; nothing was written", markup=False)
