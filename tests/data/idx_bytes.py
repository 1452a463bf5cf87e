"""The IDX format, written."""

import struct

import numpy as np


def idx_bytes(array):
    """An array of bytes in the IDX format, not yet compressed."""
    header = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()
