"""Folds what programs summed into one sum a block, in a fixed order.

A program adds the items of one block, 1,024 at a time, whatever order they were summed in; a tile
is an item, so that 1G weights are 244,000 items.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops import chunk_table

ITEMS = 1024


@triton.jit
def packed(alive, kept, found):
    """Three counts of one tile, at most 4,096 each, as an int64."""
    return (alive.to(tl.int64) << 32) | (kept << 16) | found


@triton.jit
def alive_in(counts):
    """Alive weights of a tile, of the mask that a selection begins with."""
    return counts >> 32


@triton.jit
def kept_in(counts):
    """Kept weights, of the mask that it makes."""
    return (counts >> 16) & 0xFFFF


@triton.jit
def found_in(counts):
    """Candidates."""
    return counts & 0xFFFF


@triton.jit
def fold(values, counts, order, starts, items, num_blocks, status, before, after,
         CHECKED: tl.constexpr, PARTS: tl.constexpr, ITEMS: tl.constexpr):  # fmt: skip
    """Sums [2, num_blocks] <- values [rows, items] (float64) and counts of each block's items.

    Row 0 gives the sums before (alive weights), row 1 those after (kept ones). Block b has the
    chunks order[starts[b]:starts[b + 1]], a chunk PARTS items. Zeros unless the status is 0.
    """
    block = tl.program_id(0)
    row = tl.program_id(1)
    lane = tl.arange(0, ITEMS)
    value = tl.zeros([ITEMS], tl.float64)
    count = tl.zeros([ITEMS], tl.int64)
    start = tl.load(starts + block) * PARTS
    end = tl.load(starts + block + 1) * PARTS
    if CHECKED:
        end = tl.where(tl.load(status) == 0, end, start)
    while start < end:
        i = start + lane
        mine = i < end
        item = tl.load(order + i // PARTS, mask=mine, other=0) * PARTS + i % PARTS
        value += tl.load(values + row.to(tl.int64) * items + item, mask=mine, other=0.0)
        found = tl.load(counts + item, mask=mine, other=0)
        count += tl.where(row == 0, alive_in(found), kept_in(found))
        start += ITEMS
    if row == 0:
        _put(before, block, num_blocks, value, count)
    else:
        _put(after, block, num_blocks, value, count)


@triton.jit
def _put(sums, block, num_blocks, value, count):
    tl.store(sums + block, tl.sum(value, axis=0))
    tl.store(sums + num_blocks + block, tl.sum(count, axis=0).to(tl.float64))


def launch(
    values: torch.Tensor,
    counts: torch.Tensor,
    chunks: torch.Tensor,
    parts: int,
    status: torch.Tensor | None,
    sums: list[torch.Tensor],
) -> None:
    """Folds float64 values [rows, items] and packed counts [items] into rows of [2, num_blocks]."""
    rows, items = values.shape
    blocks = sums[0].shape[1]
    if blocks:
        order, first = chunk_table.by_block(chunks, blocks)
        fold[(blocks, rows)](
            values, counts, order, first, items, blocks, counts if status is None else status,
            sums[0], sums[-1], CHECKED=status is not None, PARTS=parts, ITEMS=ITEMS,
        )  # fmt: skip
