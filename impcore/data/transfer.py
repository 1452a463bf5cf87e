"""Tensors that are made on the host for every batch, on their way to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """`drawn` on `device`, without waiting for the copy."""
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)
