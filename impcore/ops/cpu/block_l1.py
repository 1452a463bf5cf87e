"""Block sums by the native CPU kernel."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import native
from impcore.ops.cpu.threads import threads


def block_l1(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    """Sum of |m theta| and of m per block: float64 [2, num_blocks]."""
    sums = mask.new_empty((2, num_blocks), dtype=torch.float64)
    _C.block_l1(
        native.operands(weights),
        chunks.data_ptr(),
        chunks.shape[0],
        num_blocks,
        mask.data_ptr(),
        sums.data_ptr(),
        threads(mask.numel()),
    )
    return sums
