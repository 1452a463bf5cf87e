"""Integers on the device without a copy from the host: kernels write their own arguments.

Invariant: a table that a graph's capture has seen is never freed, for the graph goes on reading it.
Outside a capture the latest tables are kept by what they hold, and written once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

KEPT = 64
_WIDTH = 32
_tables: OrderedDict[tuple[object, ...], torch.Tensor] = OrderedDict()
_captured: list[torch.Tensor] = []

_VALUES = [f"v{i}" for i in range(_WIDTH)]


@triton.jit(do_not_specialize=["count", *_VALUES])
def write(out, count: tl.int64, v0: tl.int64, v1: tl.int64, v2: tl.int64, v3: tl.int64,
          v4: tl.int64, v5: tl.int64, v6: tl.int64, v7: tl.int64, v8: tl.int64, v9: tl.int64,
          v10: tl.int64, v11: tl.int64, v12: tl.int64, v13: tl.int64, v14: tl.int64,
          v15: tl.int64, v16: tl.int64, v17: tl.int64, v18: tl.int64, v19: tl.int64,
          v20: tl.int64, v21: tl.int64, v22: tl.int64, v23: tl.int64, v24: tl.int64,
          v25: tl.int64, v26: tl.int64, v27: tl.int64, v28: tl.int64, v29: tl.int64,
          v30: tl.int64, v31: tl.int64):  # fmt: skip
    """The first `count` values to out."""
    values = (v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15,
              v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, v29, v30,
              v31)  # fmt: skip
    for i in tl.static_range(32):
        tl.store(out + i, values[i], mask=i < count)


def table(values: Sequence[int], device: torch.device) -> torch.Tensor:
    """int64 values as a device tensor, for kernels on the current stream."""
    if device.type != "cuda":  # the interpreter's
        return torch.tensor(values, dtype=torch.int64, device=device)
    stream = torch.cuda.current_stream(device).cuda_stream
    key = (device, stream, *values)
    capturing = torch.cuda.is_current_stream_capturing()
    known = None if capturing else _tables.get(key)
    if known is not None:
        _tables.move_to_end(key)
        return known
    written = _write(values, device)
    if capturing:
        _captured.append(written)
        return written
    _tables[key] = written
    if len(_tables) > KEPT:
        _tables.popitem(last=False)
    return written


def _write(values: Sequence[int], device: torch.device) -> torch.Tensor:
    out = torch.empty(max(1, len(values)), dtype=torch.int64, device=device)
    for start in range(0, len(values), _WIDTH):
        part = list(values[start : start + _WIDTH])
        write[(1,)](out[start:], len(part), *part, *[0] * (_WIDTH - len(part)))
    return out


def addresses(tensors: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """The address of each tensor's first element, as a table."""
    return table([t.data_ptr() for t in tensors], device)
