"""Folds what programs summed into one sum a block, in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ITEMS = 1024


@triton.jit
def fold(values, counts, chunks, items, parts, num_blocks, status, sums, ITEMS: tl.constexpr):
    """sums [2, num_blocks] <- values (float64) and counts (int64) of the items of each block.

    Item i belongs to chunk i // parts. Zeros unless the status is 0.
    """
    block = tl.program_id(0)
    lane = tl.arange(0, ITEMS)
    value = tl.zeros([ITEMS], tl.float64)
    count = tl.zeros([ITEMS], tl.int64)
    clean = tl.load(status) == 0
    for start in range(0, items, ITEMS):
        i = start + lane.to(tl.int64)
        owner = tl.load(chunks + (i // parts) * 5 + 4, mask=i < items, other=-1)
        mine = (owner == block) & clean
        value += tl.load(values + i, mask=mine, other=0.0)
        count += tl.load(counts + i, mask=mine, other=0)
    tl.store(sums + block, tl.sum(value, axis=0))
    tl.store(sums + num_blocks + block, tl.sum(count, axis=0).to(tl.float64))


def launch(
    values: torch.Tensor,
    counts: torch.Tensor,
    chunks: torch.Tensor,
    items: int,
    parts: int,
    status: torch.Tensor,
    sums: torch.Tensor,
) -> None:
    """Folds `items` partial sums into float64 [2, num_blocks]."""
    blocks = sums.shape[1]
    if blocks:
        fold[(blocks,)](values, counts, chunks, items, parts, blocks, status, sums, ITEMS=ITEMS)
