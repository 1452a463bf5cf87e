"""Read an array of bytes in the IDX format of MNIST (LeCun), compressed with gzip.

Invariant: an array comes out only if the file holds exactly what its header says; its shape is
checked before memory is taken for it.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from impcore.errors import DataError

_UBYTE = 0x08


def read_idx(path: Path, item: Sequence[int]) -> np.ndarray:
    """Return uint8 [N, *item], N >= 1.

    Args:
        path: the .gz file.
        item: the shape of one item: (28, 28) for images, () for labels.

    Raises:
        DataError: not gzip, truncated, too long, or of another type or shape; the message names the
            file and the byte.
    """
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
        try:
            shape = _shape(path, file, tuple(item))
            data = _take(path, file, math.prod(shape))
            if file.read(1):
                end = file.tell() - 1
                raise DataError(f"{path}: goes on at byte {end}, where {list(shape)} should end")
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path}: not readable as gzip at byte {raw.tell()} ({error}); truncated or damaged"
            ) from error
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, file: gzip.GzipFile, item: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the header says, if it is [N, *item] of unsigned bytes."""
    dimensions = 1 + len(item)
    magic = struct.unpack(">I", _take(path, file, 4))[0]
    wanted = _UBYTE << 8 | dimensions
    if magic != wanted:
        raise DataError(f"{path}: starts with {magic:#010x} at byte 0, not with {wanted:#010x}")
    shape = struct.unpack(f">{dimensions}I", _take(path, file, 4 * dimensions))
    if shape[1:] != item or not 0 < shape[0] <= 2**28:
        expected = ", ".join(map(str, ("N", *item)))
        raise DataError(f"{path}: holds {list(shape)} at byte 4, not [{expected}], N at least 1")
    return shape


def _take(path: Path, file: gzip.GzipFile, count: int) -> bytes:
    start = file.tell()
    data = file.read(count)
    if len(data) < count:
        raise DataError(
            f"{path}: ends at byte {start + len(data)} of the content, should have {start + count}"
        )
    return data
