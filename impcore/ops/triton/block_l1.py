"""Block sums by Triton kernels: a float64 sum a tile, folded in a fixed order.

Weights and mask bits are read once, 4.125 bytes a float32 weight; packs of 16 bytes without an
alive weight are not read. A tile's sums take 16 bytes more, 0.004 a weight.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.triton import fold, tables
from impcore.ops.triton.tiles import at, load_tile, load_words, tile_of
from impcore.ops.triton.words import (
    FLOATS,
    INTEGERS,
    TILE,
    bits_of_packs,
    magnitudes,
    parts,
    popcount,
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
    LANES: tl.constexpr = 128 // INTEGER.primitive_bitwidth
    item = tl.program_id(0)
    tensor, offset, left, word = tile_of(chunks, item, PARTS, TILE)
    alive = load_words(mask, word, left, TILE)
    wanted = bits_of_packs(alive, LANES) != 0
    bits = load_tile(at(pointers, tensor, offset, INTEGER), left, wanted, INTEGER, TILE)
    # Bits, not sums, are selected: what the dead hold may be no number.
    bits = tl.where(unpack_rows(alive, LANES), bits, 0)
    tl.store(sums + item, tl.sum(magnitudes(bits, FLOAT)))
    tl.store(counts + item, fold.packed(tl.sum(popcount(alive), axis=0), 0, 0))


def block_l1(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    """Sum of |m theta| and of m per block: float64 [2, num_blocks]."""
    sums = mask.new_empty((2, num_blocks), dtype=torch.float64)
    pieces = parts(weights)
    items = chunks.shape[0] * pieces
    with tables.on(mask.device):
        values = mask.new_empty((1, items), dtype=torch.float64)
        counts = mask.new_empty(items, dtype=torch.int64)
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
        fold.launch(values, counts, chunks, pieces, None, [sums])
    return sums
