"""What a selection reports."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Selection(NamedTuple):
    """What a selection found; all three tensors live on the weights' device.

    Attributes:
        status: int64 [1]: 0 clean; > 0 the number of NaN or infinite alive weights; -1 if k is
            negative or above the number of alive weights.
        sums_before: float64 [2, num_blocks]: sum of |m theta| and of m per block, under mask_in.
        sums_after: the same under mask_out.
    """

    status: torch.Tensor
    sums_before: torch.Tensor
    sums_after: torch.Tensor


def empty(like: torch.Tensor, num_blocks: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tensors of a `Selection`, without values, on the device of `like`."""
    return (
        like.new_empty(1, dtype=torch.int64),
        like.new_empty((2, num_blocks), dtype=torch.float64),
        like.new_empty((2, num_blocks), dtype=torch.float64),
    )


def scalar(k: int | torch.Tensor, device: torch.device) -> torch.Tensor:
    """k as an int64 scalar on the device. Filled, not copied: no device waits."""
    if isinstance(k, torch.Tensor):
        return k
    return torch.full((), k, dtype=torch.int64, device=device)
