"""Read a run directory: config.toml, rounds.jsonl and flow.npz, checked against each other.

Invariant: a `Run` is whole and consistent, or it is a RunDirectoryError that names the file and
what is wrong with it. Nothing is unpickled, nothing is written, nothing of the run's code is used.
"""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from impcore.errors import RunDirectoryError
from impcore.rg.rows import Row, read_rows

CONFIG, ROUNDS, FLOW = "config.toml", "rounds.jsonl", "flow.npz"
THETAS = ("trained", "rewound")
_DTYPES = {"M": "float64", "P": "float64", "remaining": "int64"}
# Shares are quotients of float64 sums over at most a few hundred blocks.
_SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Run:
    """What a run measured at each of its trained states n = 0, 1, …"""

    path: Path
    config: Mapping[str, Any]
    config_text: str
    rows: tuple[Row, ...]
    M: npt.NDArray[np.float64]  # [states, columns], share of the remaining magnitude
    P: npt.NDArray[np.float64]  # [states, columns], share of the remaining weights
    names: tuple[str, ...]  # of the columns; the last is "rest" where blocks do not cover
    remaining: npt.NDArray[np.int64]  # [states]
    theta: str  # "trained" or "rewound": which weights M was measured on

    @property
    def name(self) -> str:
        """The name in the config's [run] table, else the directory's."""
        table = self.config.get("run")
        name = table.get("name") if isinstance(table, dict) else None
        return name if isinstance(name, str) and name else self.path.resolve().name

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Remaining over total, [states]."""
        total = self.rows[0].total if self.rows else 1
        return self.remaining / np.float64(total)


def load(path: Path | str) -> Run:
    """Read the run directory `path`.

    Raises:
        RunDirectoryError: a file is missing, damaged, or contradicts another one.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise RunDirectoryError(f"{directory}: not a directory")
    text, config = _read_config(directory / CONFIG)
    rows = read_rows(directory / ROUNDS)
    flow = _read_flow(directory / FLOW)
    run = Run(
        path=directory,
        config=config,
        config_text=text,
        rows=rows,
        M=flow["M"],
        P=flow["P"],
        names=tuple(str(name) for name in flow["names"]),
        remaining=flow["remaining"],
        theta=str(flow["theta"]),
    )
    _check_agreement(run)
    return run


def _read_config(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path}: missing") from error
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{path}: not a TOML file: {error}") from error


def _read_flow(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.exists():
        raise RunDirectoryError(f"{path}: missing")
    wanted = (*_DTYPES, "names", "theta")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip archive")
        with np.load(path, allow_pickle=False) as archive:
            flow = {key: archive[key] for key in wanted if key in archive}
    except Exception as error:  # damaged bytes raise a dozen unrelated types in zipfile and NumPy
        raise RunDirectoryError(f"{path}: not a readable flow file: {error}") from error
    missing = [key for key in wanted if key not in flow]
    if missing:
        raise RunDirectoryError(f"{path}: lacks {', '.join(missing)}")
    _check_flow(path, flow)
    return flow


def _check_flow(path: Path, flow: Mapping[str, npt.NDArray[Any]]) -> None:
    for key, dtype in _DTYPES.items():
        if flow[key].dtype != np.dtype(dtype):
            raise RunDirectoryError(f"{path}: {key} must be {dtype}, not {flow[key].dtype}")
    names, theta = flow["names"], flow["theta"]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise RunDirectoryError(f"{path}: names must be a list of one or more strings")
    if len(set(names.tolist())) != len(names) or "" in names.tolist():
        raise RunDirectoryError(f"{path}: names must differ and not be empty: {names.tolist()}")
    if theta.shape != () or str(theta) not in THETAS:
        raise RunDirectoryError(f"{path}: theta must be one of {THETAS}, not {theta.tolist()!r}")
    if flow["remaining"].ndim != 1:
        raise RunDirectoryError(f"{path}: remaining must have one axis")
    shape = (len(flow["remaining"]), len(names))
    for key in ("M", "P"):
        if flow[key].shape != shape:
            raise RunDirectoryError(
                f"{path}: {key} must have shape {list(shape)} [states, columns], "
                f"not {list(flow[key].shape)}"
            )
        _check_shares(path, key, flow[key])


def _check_shares(path: Path, key: str, shares: npt.NDArray[np.float64]) -> None:
    """[R] eq. 13: the blocks, with "rest", share the whole; each state sums to 1."""
    for state, row in enumerate(shares):
        if not (np.isfinite(row).all() and (row >= 0).all()):
            raise RunDirectoryError(f"{path}: {key} of state {state} is negative or not finite")
        if abs(row.sum() - 1) > _SUM_TOLERANCE:
            raise RunDirectoryError(
                f"{path}: {key} of state {state} sums to {float(row.sum())!r}, not 1"
            )


def _check_agreement(run: Run) -> None:
    rounds, flow = run.path / ROUNDS, run.path / FLOW
    if len(run.rows) != len(run.remaining):
        raise RunDirectoryError(
            f"{flow}: has {len(run.remaining)} states where {rounds} has {len(run.rows)}"
        )
    for line, (row, remaining) in enumerate(zip(run.rows, run.remaining, strict=True), start=1):
        if row.remaining != remaining:
            raise RunDirectoryError(
                f"{rounds}:{line}: remaining is {row.remaining}, but {remaining} in {flow}"
            )
