"""Block sums by Triton kernels: a float64 sum a tile, folded in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.triton import fold, tables
from impcore.ops.triton.words import (
    FLOATS,
    INTEGERS,
    TILE,
    at,
    magnitudes,
    parts,
    popcount,
    row_of,
    tile_offsets,
    unpack_rows,
)


@triton.jit
def sum_tiles(
    chunks,
    pointers,
    mask,
    sums,
    counts,
    PARTS: tl.constexpr,
    INTEGER: tl.constexpr,
    FLOAT: tl.constexpr,
    TILE: tl.constexpr,
):
    """Sum of |m theta| and of m of one tile; zeros for a tile beyond its chunk's end."""
    program = tl.program_id(0)
    tensor, offset, length, word, _ = row_of(chunks, program // PARTS)
    start = (program % PARTS).to(tl.int64) * TILE
    theta = at(pointers, tensor, offset + start, INTEGER)
    left = length - start
    w = tl.arange(0, TILE // 32)
    alive = tl.load(mask + word + start // 32 + w, mask=w * 32 < left, other=0)
    place = tile_offsets(TILE // 32)
    bits = tl.load(theta + place, mask=place < left, other=0)
    kept = tl.where(unpack_rows(alive), magnitudes(bits, FLOAT), 0.0)
    tl.store(sums + program, tl.sum(tl.sum(kept, axis=1), axis=0))
    tl.store(counts + program, tl.sum(popcount(alive), axis=0).to(tl.int64))


def block_l1(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    """Sum of |m theta| and of m per block: float64 [2, num_blocks]."""
    sums = mask.new_empty((2, num_blocks), dtype=torch.float64)
    pieces = parts(weights)
    items = chunks.shape[0] * pieces
    status = torch.zeros(1, dtype=torch.int64, device=mask.device)
    values = mask.new_empty(max(1, items), dtype=torch.float64)
    counts = mask.new_empty(max(1, items), dtype=torch.int64)
    if items:
        kind = weights[0].dtype
        sum_tiles[(items,)](
            chunks,
            tables.addresses(weights, mask.device),
            mask,
            values,
            counts,
            PARTS=pieces,
            INTEGER=INTEGERS[kind],
            FLOAT=FLOATS[kind],
            TILE=TILE,
        )
    fold.launch(values, counts, chunks, items, pieces, status, sums)
    return sums
