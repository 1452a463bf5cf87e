"""A plan's chunk table on the device of the weights: copied there once, and kept with the plan."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

# torch does not annotate its dictionary.
_copies: Any = WeakTensorKeyDictionary()


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
