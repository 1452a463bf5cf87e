"""What a run leaves for its readers: rounds.jsonl, flow.npz, and what its weights started from.

Invariant: all are made anew as a whole from the run's state, so a resumed run ends in
the same bytes as one that never stopped: all of flow.npz, and every key of rounds.jsonl except
`seconds`, the one thing in a run that a clock decides.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

Row = Mapping[str, Any]


def finite(value: float) -> float | None:
    """A number for a row: None, which JSON writes as null, if it is not finite."""
    return value if math.isfinite(value) else None


def pack_rows(rows: Sequence[Row]) -> bytes:
    """One JSON object a line. Raises ValueError for a number that is not finite."""
    lines = [json.dumps(row, allow_nan=False) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def pack_weights(taken: Mapping[str, Any]) -> bytes:
    """The file of weights, and the names of the tensors taken over and left random, as JSON."""
    return (json.dumps(taken, indent=1) + "\n").encode()


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """A plain safetensors file, which `model.path` takes."""
    copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(copies)


def pack_flow(
    M: NDArray[np.float64],
    P: NDArray[np.float64],
    names: Sequence[str],
    remaining: Sequence[int],
    theta: str,
) -> bytes:
    """The flow as flow.npz: M, P float64 [states, blocks], names [blocks], remaining [states].

    `theta` says which weights M was measured on. NumPy writes no time into the archive, so the
    same flow gives the same bytes.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        M=np.asarray(M, dtype=np.float64),
        P=np.asarray(P, dtype=np.float64),
        names=np.asarray(list(names), dtype=np.str_),
        remaining=np.asarray(list(remaining), dtype=np.int64),
        theta=np.asarray(theta, dtype=np.str_),
    )
    return buffer.getvalue()
