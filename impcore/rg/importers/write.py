"""Write what was imported as a run directory: flow.npz, rounds.jsonl, import.toml.

Invariant: every file is written whole or not at all; a directory that holds a run of impcore's own
is never written to. rounds.jsonl exists only where an accuracy was recorded.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from impcore import atomic
from impcore.errors import RunDirectoryError
from impcore.rg.importers.measure import Flow
from impcore.rg.run import CONFIG, FLOW, IMPORT, ROUNDS


def check(out: Path) -> None:
    """Raise RunDirectoryError if `out` cannot become an imported run."""
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"{out}: exists and is not a directory")
    foreign = out.is_dir() and any(out.iterdir()) and not (out / IMPORT).exists()
    if foreign or (out / CONFIG).exists():
        raise RunDirectoryError(f"{out}: is not empty and was not imported; choose another --out")


def write(out: Path, flow: Flow, theta: str, provenance: Mapping[str, Any]) -> None:
    """Write the three files into `out`, which is made if need be; flow.npz comes last.

    Raises:
        RunDirectoryError: `out` holds something else, or cannot be written.
    """
    check(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / FLOW).unlink(missing_ok=True)
        (out / ROUNDS).unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{out}: cannot be written: {error.strerror}") from error
    atomic.write(out / IMPORT, tomli_w.dumps(dict(provenance)).encode())
    if any(math.isfinite(one["accuracy"]) for one in flow.recorded):
        atomic.write(out / ROUNDS, _rounds(flow))
    atomic.write(out / FLOW, _flow(flow, theta))


def _flow(flow: Flow, theta: str) -> bytes:
    arrays: dict[str, Any] = {
        "P": flow.P,
        "names": np.array(flow.columns.names),
        "remaining": np.array(flow.remaining, dtype=np.int64),
        "total": np.array(flow.total, dtype=np.int64),
        "theta": np.array(theta),
    }
    if flow.M is not None:
        arrays["M"] = flow.M
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _rounds(flow: Flow) -> bytes:
    """One row a state; what was not recorded is null."""
    lines = []
    for number, (remaining, recorded) in enumerate(zip(flow.remaining, flow.recorded, strict=True)):
        row = {
            "round": number,
            "density": remaining / flow.total,
            "remaining": remaining,
            "total": flow.total,
            "seconds": None,
            "mask_hash": None,
            **{key: _finite(value) for key, value in recorded.items()},
        }
        lines.append(json.dumps(row, allow_nan=False) + "\n")
    return "".join(lines).encode()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
