"""Read a run directory: flow.npz, and where they exist rounds.jsonl and config.toml.

Invariant: a `Run` is whole and consistent, or it is a RunDirectoryError that names the file and
what is wrong with it. Nothing is unpickled, nothing is written, nothing of the run's code is used.
A directory that was imported has import.toml in place of config.toml, and rounds.jsonl only if the
code that made the run recorded accuracies.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from impcore.errors import RunDirectoryError
from impcore.rg.checks import Floats
from impcore.rg.flow_file import PREFIX, read_flow, shares
from impcore.rg.formats import percent
from impcore.rg.rows import Row, read_rows
from impcore.rg.table import Shown, Table

CONFIG, IMPORT, ROUNDS, FLOW = "config.toml", "import.toml", "rounds.jsonl", "flow.npz"


@dataclass(frozen=True, eq=False, repr=False)
class Run(Shown):
    """What a run measured at each of its trained states n = 0, 1, …"""

    path: Path
    config: Mapping[str, Any]  # empty where the directory has none
    config_text: str
    rows: tuple[Row, ...]  # one a state, or none where no accuracies were recorded
    observables: Mapping[str, Floats]  # [states, columns] each: M (if recorded), P, then the user's
    names: tuple[str, ...]  # of the columns; the last is "rest" where blocks do not cover
    remaining: npt.NDArray[np.int64]  # [states]
    total: int  # prunable weights
    theta: str  # "trained" or "rewound": which weights M was measured on

    @property
    def M(self) -> Floats:
        """Share of the remaining magnitude, [states, columns] ([R] eq. 13).

        Raises:
            RunDirectoryError: flow.npz has none, because it was made from masks alone.
        """
        if "M" not in self.observables:
            raise RunDirectoryError(f"{self.path / FLOW}: has no M: it was made from masks alone")
        return self.observables["M"]

    @property
    def P(self) -> Floats:
        """Share of the remaining weights, [states, columns] ([R] Sec. 4)."""
        return self.observables["P"]

    @property
    def name(self) -> str:
        """The name in the config's [run] table, else the directory's."""
        name = self.setting("run", "name")
        return name if name else self.path.resolve().name

    @property
    def method(self) -> str:
        """What pruned the run: by magnitude, over all layers at once, unless its config differs."""
        score, scope = self.setting("prune", "score"), self.setting("prune", "scope")
        by = "magnitude pruning" if score in ("", "magnitude") else f"pruning by {score}"
        return by if scope in ("", "global") else f"{by} (scope {scope})"

    @property
    def density(self) -> Floats:
        """Remaining over total, [states]."""
        return np.asarray(self.remaining / np.float64(self.total))

    @property
    def accuracy(self) -> Floats:
        """Test accuracy, [states]; NaN where none was recorded."""
        if not self.rows:
            return np.full(len(self.remaining), np.nan)
        return np.array([row.accuracy for row in self.rows], dtype=np.float64)

    @property
    def headline(self) -> tuple[str, Floats]:
        """Name and values [states] of the most telling metric: the first that the rows name.

        Accuracy where they name none; NaN where a value was not recorded.
        """
        named = [row.extra.get("metrics") for row in self.rows]
        first = next(iter(named[0]), None) if named and isinstance(named[0], dict) else None
        if first is None:
            return "accuracy", self.accuracy
        values = [some.get(first) if isinstance(some, dict) else None for some in named]
        known = [value if isinstance(value, int | float) else np.nan for value in values]
        return str(first), np.array(known, dtype=np.float64)

    def ordered(self, names: Sequence[str]) -> Run:
        """The same run with its columns in this order; `names` are its own."""
        columns = [self.names.index(name) for name in names]
        observables = {name: values[:, columns] for name, values in self.observables.items()}
        return replace(self, names=tuple(names), observables=observables)

    def setting(self, table: str, key: str) -> str:
        """A text value of the config, or ""."""
        values = self.config.get(table)
        value = values.get(key) if isinstance(values, dict) else None
        return value if isinstance(value, str) else ""

    def table(self) -> Table:
        """One row a state: density, accuracy, and the shares."""
        shown = next(iter(self.observables))
        rows = [
            (
                str(n),
                percent(float(density)),
                f"{int(remaining):,}",
                percent(float(accuracy)),
                *(percent(float(share)) for share in shares),
            )
            for n, (density, remaining, accuracy, shares) in enumerate(
                zip(
                    self.density,
                    self.remaining,
                    self.accuracy,
                    self.observables[shown],
                    strict=True,
                )
            )
        ]
        columns = (f"{shown} {name}" for name in self.names)
        headers = ("round", "density", "remaining", "accuracy", *columns)
        return Table.of(self.name, headers, rows)


def load(path: Path | str) -> Run:
    """Read the run directory `path`.

    Raises:
        RunDirectoryError: flow.npz is missing, or a file is damaged or contradicts another one.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise RunDirectoryError(f"{directory}: not a directory")
    flow = read_flow(directory / FLOW)
    configs = [directory / name for name in (CONFIG, IMPORT)]
    text, config = next((read_config(path) for path in configs if path.exists()), ("", {}))
    rows = read_rows(directory / ROUNDS) if (directory / ROUNDS).exists() else ()
    run = Run(
        path=directory,
        config=config,
        config_text=text,
        rows=rows,
        observables={key.removeprefix(PREFIX): flow[key] for key in shares(flow)},
        names=tuple(str(name) for name in flow["names"]),
        remaining=flow["remaining"],
        total=_total(rows, flow),
        theta=str(flow["theta"]),
    )
    _check_agreement(run, flow.get("total"))
    return run


def _total(rows: tuple[Row, ...], flow: Mapping[str, npt.NDArray[Any]]) -> int:
    """Prunable weights: as the rounds or the flow say, else those that remain at state 0."""
    if rows:
        return rows[0].total
    if "total" in flow:
        return int(flow["total"])
    return int(flow["remaining"][0]) if len(flow["remaining"]) else 1


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a config.toml, and what it says. Raises RunDirectoryError."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{path}: not a TOML file: {error}") from error


def _check_agreement(run: Run, total: npt.NDArray[np.int64] | None) -> None:
    """Between flow.npz, whose `total` is given if it has one, and rounds.jsonl."""
    rounds, flow = run.path / ROUNDS, run.path / FLOW
    if not rounds.exists():
        return
    if total is not None and int(total) != run.total:
        raise RunDirectoryError(f"{flow}: total is {int(total)}, but {run.total} in {rounds}")
    if len(run.rows) != len(run.remaining):
        raise RunDirectoryError(
            f"{flow}: has {len(run.remaining)} states where {rounds} has {len(run.rows)}"
        )
    for line, (row, remaining) in enumerate(zip(run.rows, run.remaining, strict=True), start=1):
        if row.remaining != remaining:
            raise RunDirectoryError(
                f"{rounds}:{line}: remaining is {row.remaining}, but {remaining} in {flow}"
            )
