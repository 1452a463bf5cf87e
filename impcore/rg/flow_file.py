"""Read flow.npz: the shares that a run measured, and those that a user added.

Invariant: what comes out is whole and consistent (keys, types, shapes; M and P of every state sum
to 1, no count is negative), or it is a RunDirectoryError that names the file and what is wrong with
it. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from impcore.errors import RunDirectoryError

THETAS = ("trained", "rewound")
PREFIX = "observable_"  # of the keys under which the file holds user-defined observables
_DTYPES = {"M": "float64", "P": "float64", "remaining": "int64", "total": "int64"}
_OPTIONAL = ("M", "total")
# Shares are quotients of float64 sums over at most a few hundred blocks.
_SUM_TOLERANCE = 1e-9


def shares(flow: Mapping[str, Any]) -> list[str]:
    """Keys of the observables, in the order in which they are shown."""
    user = sorted(key for key in flow if key.startswith(PREFIX))
    return [key for key in ("M", "P", *user) if key in flow]


def read_flow(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the file's known keys and observables.

    Raises:
        RunDirectoryError: it is missing, damaged, or lacks a key.
    """
    if not path.exists():
        raise RunDirectoryError(f"{path}: missing")
    wanted = (*_DTYPES, "names", "theta")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip archive")
        _check_members(path)
        with np.load(path, allow_pickle=False) as archive:
            known = [key for key in archive if key in wanted or key.startswith(PREFIX)]
            flow = {key: archive[key] for key in known}
    except Exception as error:  # damaged bytes raise a dozen unrelated types in zipfile and NumPy
        raise RunDirectoryError(f"{path}: not a readable flow file: {error}") from error
    missing = [key for key in wanted if key not in flow and key not in _OPTIONAL]
    if missing:
        raise RunDirectoryError(f"{path}: lacks {', '.join(missing)}")
    _check_flow(path, flow)
    return flow


def _check_members(path: Path) -> None:
    """Raises unless all that the archive holds is whole, known or not.

    A damaged name would make a key unknown, and an optional one would not be missed.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")


def _check_flow(path: Path, flow: Mapping[str, npt.NDArray[Any]]) -> None:
    for key in flow:
        dtype = "float64" if key.startswith(PREFIX) else _DTYPES.get(key)
        if dtype is not None and flow[key].dtype != np.dtype(dtype):
            raise RunDirectoryError(f"{path}: {key} must be {dtype}, not {flow[key].dtype}")
        if key in (PREFIX, f"{PREFIX}M", f"{PREFIX}P"):
            raise RunDirectoryError(
                f"{path}: {key} must have a name of its own, not M or P or none"
            )
    names, theta = flow["names"], flow["theta"]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise RunDirectoryError(f"{path}: names must be a list of one or more strings")
    if len(set(names.tolist())) != len(names) or "" in names.tolist():
        raise RunDirectoryError(f"{path}: names must differ and not be empty: {names.tolist()}")
    if theta.shape != () or str(theta) not in THETAS:
        raise RunDirectoryError(f"{path}: theta must be one of {THETAS}, not {theta.tolist()!r}")
    remaining = flow["remaining"]
    if remaining.ndim != 1:
        raise RunDirectoryError(f"{path}: remaining must have one axis")
    if (remaining < 0).any():
        state = int(np.argmax(remaining < 0))
        raise RunDirectoryError(
            f"{path}: remaining of state {state} must be 0 or more, not {remaining[state]}"
        )
    if "total" in flow and (flow["total"].shape != () or flow["total"] < remaining.max(initial=1)):
        raise RunDirectoryError(
            f"{path}: total must be one number, at least {remaining.max(initial=1)}, not "
            f"{flow['total'].tolist()}"
        )
    _check_observables(path, flow, (len(remaining), len(names)))


def _check_observables(
    path: Path, flow: Mapping[str, npt.NDArray[Any]], shape: tuple[int, int]
) -> None:
    """Shapes and values; M and P are shares, [R] eq. 13, and every state of theirs sums to 1."""
    for key in shares(flow):
        if flow[key].shape != shape:
            raise RunDirectoryError(
                f"{path}: {key} must have shape {list(shape)} [states, columns], "
                f"not {list(flow[key].shape)}"
            )
        for state, row in enumerate(flow[key]):
            if not (np.isfinite(row).all() and (row >= 0).all()):
                raise RunDirectoryError(f"{path}: {key} of state {state} is negative or not finite")
            if not key.startswith(PREFIX) and abs(row.sum() - 1) > _SUM_TOLERANCE:
                raise RunDirectoryError(
                    f"{path}: {key} of state {state} sums to {float(row.sum())!r}, not 1"
                )
