"""The memory floors of this machine: bare native loops over the same tensors as the ops.

Compiled with g++ -O3 -march=native when a benchmark starts (benchmarks/floors.cpp).
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

_NO_CHANGE = ctypes.c_uint32(0)
SOURCE = Path(__file__).with_name("floors.cpp")


@functools.cache
def _library() -> ctypes.CDLL:
    out = Path(tempfile.mkdtemp(prefix="impcore-floors-")) / "floors.so"
    flags = ["-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-std=c++17"]
    subprocess.run(["g++", *flags, str(SOURCE), "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


class Floors:
    """Bare loops over some contiguous tensors, seen as 32-bit words. Their values stay."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._bits = [torch.zeros(-(-t.nbytes // 32), dtype=torch.uint8) for t in tensors]
        count = len(self._tensors)
        self._data = (ctypes.c_void_p * count)(*(t.data_ptr() for t in self._tensors))
        self._out = (ctypes.c_void_p * count)(*(t.data_ptr() for t in self._bits))
        sizes = [t.nbytes // 4 for t in self._tensors]
        starts = itertools.accumulate((-(-size // 32) * 32 for size in sizes), initial=0)
        self._sizes = (ctypes.c_int64 * count)(*sizes)
        self._starts = (ctypes.c_int64 * (count + 1))(*starts)
        self._places = (self._sizes, self._starts, ctypes.c_int64(count))

    def read(self) -> None:
        """Reads all bytes."""
        _library().read_words(self._data, *self._places, torch.get_num_threads())

    def read_ahead(self) -> None:
        """Reads all bytes, prefetching: not bare, but as fast as this machine is known to read."""
        _library().read_words_ahead(self._data, *self._places, torch.get_num_threads())

    def read_and_write_bits(self) -> None:
        """Reads all bytes, writes a bit a weight."""
        _library().read_words_write_bits(
            self._data, *self._places, self._out, torch.get_num_threads()
        )

    def update(self) -> None:
        """Reads all bytes and writes them back."""
        _library().update_words(self._data, *self._places, _NO_CHANGE, torch.get_num_threads())

    def read_then_update(self) -> None:
        """A bare read followed by a bare read-modify-write: what prune_global cannot undercut."""
        self.read()
        self.update()

    def read_and_update(self, rows: Sequence[Floors]) -> None:
        """Reads all bytes and updates as many of each row, side by side: an optimiser's step."""
        data = (ctypes.c_void_p * len(rows))(*(ctypes.addressof(row._data) for row in rows))
        _library().update_rows(
            self._data,
            data,
            ctypes.c_int64(len(rows)),
            *self._places,
            _NO_CHANGE,
            torch.get_num_threads(),
        )
