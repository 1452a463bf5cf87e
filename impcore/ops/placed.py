"""A plan's chunk table on the device of the weights, and its chunks by block: made once, and kept
with the plan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

# torch does not annotate its dictionary.
_copies: Any = WeakTensorKeyDictionary()
_orders: Any = WeakTensorKeyDictionary()


def on(device: torch.device, chunks: torch.Tensor) -> torch.Tensor:
    """The table int64 [chunks, 5] on `device`.

    A copy lives as long as the table, so that a captured CUDA graph may read it; the first call for
    a device must come before the capture.
    """
    if chunks.device == device:
        return chunks
    copies = _copies.setdefault(chunks, {})
    if device not in copies:
        copies[device] = chunks.to(device)
    table: torch.Tensor = copies[device]
    return table


def by_block(chunks: torch.Tensor, num_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The chunks of a placed table by block: block b has order[first[b]:first[b + 1]] (int64).

    Complete before they are kept: another stream may be the next to read them.
    """
    known = _orders.get(chunks)
    if known is not None:
        return known  # type: ignore[no-any-return]
    blocks, order = torch.sort(chunks[:, 4], stable=True)
    wanted = torch.arange(num_blocks + 1, device=chunks.device)
    found = order, torch.searchsorted(blocks.contiguous(), wanted)
    # What a graph computes is there only after a replay, and belongs to it.
    if chunks.device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        _finish(chunks.device)
        _orders[chunks] = found
    return found


def _finish(device: torch.device) -> None:
    """Waits for what has been queued on the device's current stream."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
