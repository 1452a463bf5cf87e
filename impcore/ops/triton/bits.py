"""Packed masks by Triton kernels; padding bits are 0."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.plan import words_of
from impcore.ops.triton import tables
from impcore.ops.triton.tiles import (
    is_whole,
    load_tile,
    load_words,
    places,
    store_packs,
    store_words,
)
from impcore.ops.triton.words import CHUNK, TILE, pack_rows, popcount, unpack_rows

BYTES = 16  # bools in a pack


@triton.jit
def _all_packs(TILE: tl.constexpr, LANES: tl.constexpr):
    return tl.full([TILE // 32, 32 // LANES, 1], 1, tl.int1)


@triton.jit
def _tile(numel, TILE: tl.constexpr):
    """This program's first element, and how many it has."""
    start = tl.program_id(0).to(tl.int64) * TILE
    return start, tl.minimum(numel - start, TILE).to(tl.int32)


@triton.jit
def pack_kernel(bools, words, numel, BYTES: tl.constexpr, TILE: tl.constexpr):
    """One tile of bytes to its words."""
    start, left = _tile(numel, TILE)
    every = _all_packs(TILE, BYTES)
    flags = load_tile(bools.to(tl.int64, bitcast=True) + start, left, every, tl.uint8, TILE)
    store_words(words, start // 32, left, pack_rows(flags != 0), TILE)


@triton.jit
def unpack_kernel(words, bools, numel, BYTES: tl.constexpr, TILE: tl.constexpr):
    """One tile of words to its bytes."""
    start, left = _tile(numel, TILE)
    flags = unpack_rows(load_words(words, start // 32, left, TILE), BYTES).to(tl.uint8)
    every = _all_packs(TILE, BYTES)
    address = bools.to(tl.int64, bitcast=True) + start
    if is_whole(address, left, TILE):
        store_packs(address, left, flags, every, tl.uint8, True, TILE)
    else:
        store_packs(address, left, flags, every, tl.uint8, False, TILE)


@triton.jit
def count_kernel(words, num_words, ones, BLOCK: tl.constexpr):
    """Adds the bits set in a block of words; integers, so the order does not matter."""
    word = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    found = popcount(tl.load(words + word, mask=word < num_words, other=0))
    tl.atomic_add(ones, tl.sum(found, axis=0).to(tl.int64), sem="relaxed")


@triton.jit
def counts_kernel(chunks, words, ones, BLOCK: tl.constexpr):
    """Adds the bits set in one chunk to those of its tensor."""
    row = chunks + tl.program_id(0).to(tl.int64) * 5
    length, start = tl.load(row + 2), tl.load(row + 3)
    word = tl.arange(0, BLOCK)
    found = popcount(tl.load(words + start + word, mask=word * 32 < length, other=0))
    tl.atomic_add(ones + tl.load(row), tl.sum(found, axis=0).to(tl.int64), sem="relaxed")


@triton.jit
def permute_kernel(words, out, numel, layout, DIMS: tl.constexpr, WIDE: tl.constexpr,
                   TILE: tl.constexpr):  # fmt: skip
    """One tile of the new order; layout: rows of size, new stride, old stride."""
    start, left = _tile(numel, TILE)
    here = places(4, TILE)
    place = start + here if WIDE else start.to(tl.int32) + here
    source = tl.zeros_like(place)
    for d in tl.static_range(DIMS):
        size = tl.load(layout + 3 * d).to(place.dtype)
        new = tl.load(layout + 3 * d + 1).to(place.dtype)
        old = tl.load(layout + 3 * d + 2).to(place.dtype)
        source += (place // new % size) * old
    found = tl.load(words + source // 32, mask=here < left, other=0)
    flags = ((found >> (source % 32).to(tl.int32)) & 1 != 0) & (here < left)
    store_words(out, start // 32, left, pack_rows(flags), TILE)


def _tiles(numel: int) -> tuple[int]:
    return (triton.cdiv(numel, TILE),)


def pack(bools: torch.Tensor) -> torch.Tensor:
    """int32 words of a bool tensor."""
    numel = bools.numel()
    words = bools.new_empty(words_of(numel), dtype=torch.int32)
    if numel:
        with tables.on(bools.device):
            pack_kernel[_tiles(numel)](
                bools.view(torch.uint8), words, numel, BYTES=BYTES, TILE=TILE
            )
    return words


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """The first `numel` bits as bools."""
    bools = words.new_empty(numel, dtype=torch.bool)
    if numel:
        with tables.on(words.device):
            unpack_kernel[_tiles(numel)](
                words, bools.view(torch.uint8), numel, BYTES=BYTES, TILE=TILE
            )
    return bools


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set."""
    ones = torch.zeros((), dtype=torch.int64, device=words.device)
    if words.numel():
        grid = (triton.cdiv(words.numel(), TILE),)
        with tables.on(words.device):
            count_kernel[grid](words, words.numel(), ones, BLOCK=TILE)
    return ones


def counts(chunks: torch.Tensor, words: torch.Tensor, tensors: int) -> torch.Tensor:
    """How many bits of each tensor are set."""
    ones = torch.zeros(tensors, dtype=torch.int64, device=words.device)
    if chunks.shape[0]:
        with tables.on(words.device):
            counts_kernel[(chunks.shape[0],)](chunks, words, ones, BLOCK=words_of(CHUNK))
    return ones


def permute(words: torch.Tensor, shape: list[int], old: list[int], new: list[int]) -> torch.Tensor:
    """The bits in another storage order."""
    out = torch.empty_like(words)
    numel = 1
    for size in shape:
        numel *= size
    moving = [d for d, size in enumerate(shape) if size > 1]
    if numel:
        with tables.on(words.device):
            rows = [x for d in moving for x in (shape[d], new[d], old[d])]
            layout = tables.table(rows, words.device)
            permute_kernel[_tiles(numel)](
                words, out, numel, layout, DIMS=len(moving), WIDE=numel >= 2**31, TILE=TILE
            )
    return out
