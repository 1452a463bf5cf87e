"""theta <- m ? source : +0 by a Triton kernel, by selection: what the dead hold never matters.

A commit is the same sweep, which also swaps the mask in, and does nothing unless a status is 0.
Packs of 16 bytes move: without a source those that are alive as a whole are not touched, and those
dead as a whole not read (at most 8.25 bytes a float32 weight with the two masks of a commit); with
one, the weights are only written.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.triton import tables
from impcore.ops.triton.tiles import (
    at,
    is_whole,
    load_packs,
    load_words,
    store_packs,
    store_words,
    tile_of,
)
from impcore.ops.triton.words import INTEGERS, TILE, bits_of_packs, parts, unpack_rows


@triton.jit
def _move(theta, source, left, alive, SOURCE: tl.constexpr, INTEGER: tl.constexpr,
          WHOLE: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    LANES: tl.constexpr = 128 // INTEGER.primitive_bitwidth
    packs = bits_of_packs(alive, LANES)
    touched = packs != (1 << LANES) - 1
    if SOURCE:
        touched = touched | (packs != 0)
    wanted = touched & (packs != 0)
    bits = load_packs(source, left, wanted, INTEGER, WHOLE, TILE)
    bits = tl.where(unpack_rows(alive, LANES), bits, 0)
    store_packs(theta, left, bits, touched, INTEGER, WHOLE, TILE)


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
    """One tile; without a source only dead weights change."""
    tensor, offset, left, word = tile_of(chunks, tl.program_id(0), PARTS, TILE)
    if COMMIT:
        left = tl.where(tl.load(status) == 0, left, 0)
    if left > 0:
        alive = load_words(new_mask, word, left, TILE)
        if COMMIT:
            store_words(mask, word, left, alive, TILE)
        theta = at(pointers, tensor, offset, INTEGER)
        source = at(sources, tensor, offset, INTEGER) if SOURCE else theta
        if is_whole(theta | source, left, TILE):
            _move(theta, source, left, alive, SOURCE, INTEGER, True, TILE)
        else:
            _move(theta, source, left, alive, SOURCE, INTEGER, False, TILE)


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
    with tables.on(mask.device):
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
