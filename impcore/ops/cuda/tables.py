"""Lists of integers on the device (addresses, sizes), as kernels over many tensors need them.

Invariants: nothing is copied from host memory, so a CUDA graph can capture the making of a table; a
table that is in use is never written again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from impcore import _C
from impcore.ops import native
from impcore.ops.cuda import launch

# A training step uses a few tables again and again; gradients may move between a few places.
_KEPT = 64
_tables: OrderedDict[tuple[torch.device, int, tuple[int, ...]], torch.Tensor] = OrderedDict()


def integers(values: Sequence[int], device: torch.device, stream: int) -> torch.Tensor:
    """The values as int64 [len(values)] on the device, for kernels on the stream.

    Tables are kept for the next call with the same values. One that is made while the stream is
    captured belongs to the graph, and is made again by each replay.
    """
    if launch.capturing():
        return _written(values, device, stream)
    key = (device, stream, tuple(values))
    table = _tables.get(key)
    if table is None:
        table = _tables[key] = _written(values, device, stream)
        if len(_tables) > _KEPT:
            _tables.popitem(last=False)
    else:
        _tables.move_to_end(key)
    return table


def _written(values: Sequence[int], device: torch.device, stream: int) -> torch.Tensor:
    table = torch.empty(len(values), dtype=torch.int64, device=device)
    _C.cuda.upload(list(values), table.data_ptr(), stream)
    return table


def addresses(tensors: Sequence[torch.Tensor], device: torch.device, stream: int) -> torch.Tensor:
    """The tensors' addresses as int64 [len(tensors)] on the device."""
    return integers(native.addresses(tensors), device, stream)


def weights(
    chunks: torch.Tensor, tensors: Sequence[torch.Tensor], stream: int
) -> tuple[_C.cuda.Weights, torch.Tensor]:
    """The plan's table and its tensors as the native ops take them, and the table they point to.

    The second must live until the launch is queued.
    """
    table = addresses(tensors, chunks.device, stream)
    dtype = native.DTYPE_CODES[tensors[0].dtype if tensors else torch.float32]
    return _C.cuda.Weights(dtype, chunks.data_ptr(), chunks.shape[0], table.data_ptr()), table
