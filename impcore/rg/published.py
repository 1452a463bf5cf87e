"""The tables of [R], shipped as data: Tables 2 to 6 are σ, Table 7 is γ.

Invariant: the numbers are those printed in W. T. Redman, T. Chen, Z. Wang, A. S. Dogra:
"Universality of Winning Tickets: A Renormalization Group Perspective", ICML 2022, arXiv:2110.03210;
nothing is corrected (a -0.00 keeps its sign), and a missing entry is None. They carry no
uncertainty but their last digit. Table 2's -0.68 stands far from every other entry: no run is
expected to reproduce it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from impcore.rg.formats import DASH
from impcore.rg.stats import relevance
from impcore.rg.table import Shown, Table
from impcore.rg.vectors import Vector

NUMBERS = (2, 3, 4, 5, 6, 7)


@dataclass(frozen=True, repr=False)
class Published(Shown):
    """One table: rows by name, each with its printed values."""

    number: int
    title: str
    quantity: str  # "σ" or "γ"
    digits: int  # printed decimals
    columns: tuple[str, ...]  # of Table 7; of the others σ1, σ2, … as far as the longest row
    rows: dict[str, tuple[float | None, ...]]

    def vector(self, row: str) -> Vector:
        """A row of σ as a vector to compare; relevance is by the sign of what was printed.

        Raises:
            ValueError: there is no such row, or the table does not hold σ.
        """
        values = self.rows.get(row)
        if values is None:
            raise ValueError(f"row must be one of {', '.join(self.rows)}, not {row!r}")
        if self.quantity != "σ" or None in values:
            raise ValueError(f"Table {self.number} holds {self.quantity}, not a vector of σ")
        sigma = np.array(values, dtype=np.float64)
        names = tuple(f"σ{i}" for i in range(1, len(values) + 1))
        unknown = np.full(len(values), math.nan)
        return Vector(names, sigma, unknown, math.nan, relevance(sigma, sigma))

    def printed(self, row: str) -> tuple[str, ...]:
        """The cells of a row, to the digits and with the signs of the paper."""
        return tuple(_shown(value, self.digits) for value in self.rows[row])

    def table(self) -> Table:
        """As printed."""
        width = max(len(values) for values in self.rows.values())
        rows = [
            (name, *self.printed(name), *[""] * (width - len(values)))
            for name, values in self.rows.items()
        ]
        title = f"Table {self.number} of Redman et al. (2022): {self.title}"
        return Table.of(title, ("", *self.columns), rows)


def table(number: int) -> Published:
    """Table 2, 3, 4, 5, 6 or 7 of the paper.

    Raises:
        ValueError: the number is another one.
    """
    if isinstance(number, bool) or number not in NUMBERS:
        raise ValueError(f"number must be one of {', '.join(map(str, NUMBERS))}, not {number!r}")
    entry = _data()[f"table{number}"]
    rows = {name: tuple(values) for name, values in entry["rows"].items()}
    width = max(len(values) for values in rows.values())
    columns = entry.get("columns") or [f"σ{i}" for i in range(1, width + 1)]
    return Published(
        number=number,
        title=entry["title"],
        quantity=entry["quantity"],
        digits=entry["digits"],
        columns=tuple(columns),
        rows=rows,
    )


@cache
def _data() -> dict[str, Any]:
    path = resources.files("impcore.rg").joinpath("published.json")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _shown(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:+.{digits}f}".replace("-", "−")
