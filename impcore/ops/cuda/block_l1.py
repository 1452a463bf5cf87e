"""Block sums by the CUDA kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import chunk_table
from impcore.ops.cuda import launch, tables


def block_l1(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    """Sum of |m theta| and of m per block: float64 [2, num_blocks]."""
    sums = mask.new_empty((2, num_blocks), dtype=torch.float64)
    with launch.on(mask.device) as stream:
        order, first = chunk_table.by_block(chunks, num_blocks)
        targets, _kept = tables.weights(chunks, weights, stream)
        scratch = mask.new_empty(_C.cuda.block_l1_workspace(chunks.shape[0]), dtype=torch.uint8)
        _C.cuda.block_l1(
            targets,
            _C.cuda.BlockOrder(order.data_ptr(), first.data_ptr(), num_blocks),
            mask.data_ptr(),
            scratch.data_ptr(),
            sums.data_ptr(),
            stream,
        )
    return sums
