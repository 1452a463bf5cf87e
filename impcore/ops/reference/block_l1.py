"""Block sums, correctly rounded."""

from __future__ import annotations

import torch

from impcore.ops.reference import storage
from impcore.ops.reference.topk_mask import block_sums


def block_l1(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    """Sum of |m theta| and of m per block: float64 [2, num_blocks]."""
    table = storage.tensor_table(chunks, len(weights))
    masks = [
        storage.mask_of(mask, word, w.numel()) for (word, _), w in zip(table, weights, strict=True)
    ]
    return block_sums(weights, masks, [b for _, b in table], num_blocks).to(mask.device)
