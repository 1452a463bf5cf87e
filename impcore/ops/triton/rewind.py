"""theta <- m ? source : +0 by a Triton kernel, by selection: what the dead hold never matters.

A commit is the same sweep, which also swaps the mask in, and does nothing unless a status is 0.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.triton import tables
from impcore.ops.triton.words import INTEGERS, TILE, at, parts, row_of, tile_offsets, unpack_rows


@triton.jit
def select_tiles(
    chunks,
    pointers,
    sources,
    mask,
    new_mask,
    status,
    PARTS: tl.constexpr,
    SOURCE: tl.constexpr,
    COMMIT: tl.constexpr,
    INTEGER: tl.constexpr,
    TILE: tl.constexpr,
):
    """One tile; without a source only dead weights are written, and nothing is read but bits."""
    program = tl.program_id(0)
    tensor, offset, length, word, _ = row_of(chunks, program // PARTS)
    start = (program % PARTS).to(tl.int64) * TILE
    left = length - start
    if COMMIT:
        left = tl.where(tl.load(status) == 0, left, 0)
    w = tl.arange(0, TILE // 32)
    inside = w * 32 < left
    words = word + start // 32 + w
    alive = tl.load(new_mask + words, mask=inside, other=0)
    if COMMIT:
        tl.store(mask + words, alive, mask=inside)
    flags = unpack_rows(alive)
    place = tile_offsets(TILE // 32)
    theta = at(pointers, tensor, offset + start, INTEGER)
    zero = tl.zeros([TILE // 32, 32], INTEGER)
    if SOURCE:
        source = at(sources, tensor, offset + start, INTEGER)
        bits = tl.load(source + place, mask=place < left, other=0)
        tl.store(theta + place, tl.where(flags, bits, zero), mask=place < left)
    else:
        tl.store(theta + place, zero, mask=(place < left) & (flags == 0))


def launch(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    new_mask: torch.Tensor,
    status: torch.Tensor | None,
    source: list[torch.Tensor],
) -> None:
    """The weights under new_mask; with a status, a commit."""
    pieces = parts(weights)
    if chunks.shape[0] == 0:
        return
    pointers = tables.addresses(weights, mask.device)
    select_tiles[(chunks.shape[0] * pieces,)](
        chunks,
        pointers,
        tables.addresses(source, mask.device) if source else pointers,
        mask,
        new_mask,
        mask if status is None else status,
        PARTS=pieces,
        SOURCE=bool(source),
        COMMIT=status is not None,
        INTEGER=INTEGERS[weights[0].dtype],
        TILE=TILE,
    )


def rewind(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Writes the source (or the weights themselves) where the mask is 1, and +0 elsewhere."""
    launch(chunks, weights, mask, mask, None, source)
