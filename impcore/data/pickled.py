"""Read a CIFAR batch, which is a Python pickle, without running anything that it says.

Invariant: a file can name nothing but the five globals that the official batches use, and each
of them is replaced by a plain class or function of this module. No code of NumPy's own
unpickling, let alone of any other module, sees the content before it has been checked.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from impcore.errors import DataError


class _Dtype:
    """Stands for numpy.dtype; keeps the type code only."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment: one-byte types have neither."""


class _Array:
    """Stands for numpy.ndarray; keeps the state that `_to_array` checks."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # its name since NumPy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Refused(Exception):
    """The file names a global that is not admitted."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of an admitted global."""
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def read_batch(path: Path) -> dict[bytes, Any]:
    """Return the dictionary of an official CIFAR batch: its uint8 arrays as NumPy arrays.

    Keys and strings written by Python 2 come out as bytes, and so do text keys.

    Raises:
        DataError: unreadable, truncated, not a pickle of a dictionary, names a global other than
            those of the official files, or holds an array whose parts do not fit together.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except _Refused as refused:
        raise DataError(
            f"{path}: refused, because it would load {refused}, which no official CIFAR batch "
            "does; do not use this file"
        ) from None
    # A damaged pickle can raise nearly anything; all of it means the same to the caller.
    except Exception as error:
        raise DataError(
            f"{path}: not readable as a CIFAR batch ({type(error).__name__}: {error}); "
            "truncated or damaged"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a dictionary")
    return {
        key.encode() if isinstance(key, str) else key: (
            _to_array(value, path) if isinstance(value, _Array) else value
        )
        for key, value in content.items()
    }


def _to_array(array: _Array, path: Path) -> np.ndarray:
    match array.state:
        case (int(), tuple(shape), _Dtype(code="u1"), int(fortran), bytes(raw)) if all(
            type(n) is int and n >= 0 for n in shape
        ) and math.prod(shape) == len(raw):
            sizes: list[int] = list(shape)
            pixels = np.frombuffer(raw, np.uint8)
            return pixels.reshape(sizes, order="F" if fortran else "C").copy("C")
    raise DataError(f"{path}: holds an array that is not uint8, or whose bytes and shape differ")
