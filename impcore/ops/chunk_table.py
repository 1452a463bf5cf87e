"""A plan's chunk table on the device of the weights, and its chunks by block: made once, and kept
with the plan.

Invariant: what a CUDA graph reads of them is never freed, whatever becomes of the plan; nobody says
when a graph is gone, and a table takes 40 bytes per 65,536 weights.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch.utils.weak import WeakTensorKeyDictionary

_copies: MutableMapping[torch.Tensor, dict[torch.device, torch.Tensor]] = WeakTensorKeyDictionary()
_orders: MutableMapping[torch.Tensor, tuple[torch.Tensor, torch.Tensor]] = WeakTensorKeyDictionary()
_captured: dict[int, torch.Tensor] = {}
"""Tables that graphs read; their orders live as long."""


def on(device: torch.device, chunks: torch.Tensor) -> torch.Tensor:
    """The table int64 [chunks, 5] on `device`.

    A copy lives as long as the table, or for good once a CUDA graph is captured that reads it; the
    first call for a device must come before the capture.
    """
    table = chunks if chunks.device == device else _copy(device, chunks)
    if _capturing(device):
        _captured[id(table)] = table
    _used(table)
    return table


def _copy(device: torch.device, chunks: torch.Tensor) -> torch.Tensor:
    copies = _copies.setdefault(chunks, {})
    if device not in copies:
        copies[device] = chunks.to(device)
    return copies[device]


def by_block(chunks: torch.Tensor, num_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The chunks by block, on the table's device: block b has order[first[b]:first[b + 1]] (int64).

    Complete before they are kept: another stream may be the next to read them.
    """
    known = _orders.get(chunks)
    if known is not None:
        for each in known:
            _used(each)
        return known
    blocks, order = torch.sort(chunks[:, 4], stable=True)
    wanted = torch.arange(num_blocks + 1, device=chunks.device)
    found = order, torch.searchsorted(blocks.contiguous(), wanted)
    # What a graph computes is there only after a replay, and belongs to it.
    if not _capturing(chunks.device):
        _finish(chunks.device)
        _orders[chunks] = found
    return found


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _used(table: torch.Tensor) -> None:
    """Whatever becomes of the plan, its memory is not reused before the current stream has read it.

    Otherwise the stream on which it was made could have it back at once.
    """
    if table.is_cuda and not _capturing(table.device):
        table.record_stream(torch.cuda.current_stream(table.device))


def _finish(device: torch.device) -> None:
    """Waits for what has been queued on the device's current stream."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
