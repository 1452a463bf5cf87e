"""Packed masks by Triton kernels; padding bits are 0."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.plan import words_of
from impcore.ops.triton import tables
from impcore.ops.triton.words import TILE, pack_rows, popcount, tile_offsets, unpack_rows

WORDS = TILE // 32


@triton.jit
def pack_kernel(bools, words, numel, WORDS: tl.constexpr):
    """One tile of bytes to its words."""
    start = tl.program_id(0).to(tl.int64) * WORDS
    place = start * 32 + tile_offsets(WORDS)
    flags = tl.load(bools + place, mask=place < numel, other=0) != 0
    word = start + tl.arange(0, WORDS)
    tl.store(words + word, pack_rows(flags), mask=word * 32 < numel)


@triton.jit
def unpack_kernel(words, bools, numel, WORDS: tl.constexpr):
    """One tile of words to its bytes."""
    start = tl.program_id(0).to(tl.int64) * WORDS
    word = start + tl.arange(0, WORDS)
    flags = unpack_rows(tl.load(words + word, mask=word * 32 < numel, other=0))
    place = start * 32 + tile_offsets(WORDS)
    tl.store(bools + place, flags.to(tl.uint8), mask=place < numel)


@triton.jit
def count_kernel(words, num_words, ones, BLOCK: tl.constexpr):
    """Adds the bits set in a block of words; integers, so the order does not matter."""
    word = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    found = popcount(tl.load(words + word, mask=word < num_words, other=0))
    tl.atomic_add(ones, tl.sum(found, axis=0).to(tl.int64))


@triton.jit
def permute_kernel(words, out, numel, layout, DIMS: tl.constexpr, WORDS: tl.constexpr):
    """One tile of the new order; layout: rows of size, new stride, old stride."""
    start = tl.program_id(0).to(tl.int64) * WORDS
    place = start * 32 + tile_offsets(WORDS)
    source = tl.zeros_like(place)
    for d in tl.static_range(DIMS):
        size = tl.load(layout + 3 * d)
        new = tl.load(layout + 3 * d + 1)
        old = tl.load(layout + 3 * d + 2)
        source += (place // new % size) * old
    valid = place < numel
    found = tl.load(words + source // 32, mask=valid, other=0)
    flags = ((found >> (source % 32).to(tl.int32)) & 1 != 0) & valid
    word = start + tl.arange(0, WORDS)
    tl.store(out + word, pack_rows(flags), mask=word * 32 < numel)


def _tiles(numel: int) -> tuple[int]:
    return (triton.cdiv(numel, TILE),)


def pack(bools: torch.Tensor) -> torch.Tensor:
    """int32 words of a bool tensor."""
    numel = bools.numel()
    words = bools.new_empty(words_of(numel), dtype=torch.int32)
    if numel:
        pack_kernel[_tiles(numel)](bools.view(torch.uint8), words, numel, WORDS=WORDS)
    return words


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """The first `numel` bits as bools."""
    bools = words.new_empty(numel, dtype=torch.bool)
    if numel:
        unpack_kernel[_tiles(numel)](words, bools.view(torch.uint8), numel, WORDS=WORDS)
    return bools


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set."""
    ones = torch.zeros((), dtype=torch.int64, device=words.device)
    if words.numel():
        grid = (triton.cdiv(words.numel(), TILE),)
        count_kernel[grid](words, words.numel(), ones, BLOCK=TILE)
    return ones


def permute(words: torch.Tensor, shape: list[int], old: list[int], new: list[int]) -> torch.Tensor:
    """The bits in another storage order."""
    out = torch.empty_like(words)
    numel = 1
    for size in shape:
        numel *= size
    moving = [d for d, size in enumerate(shape) if size > 1]
    if numel:
        layout = tables.table([x for d in moving for x in (shape[d], new[d], old[d])], words.device)
        permute_kernel[_tiles(numel)](words, out, numel, layout, DIMS=len(moving), WORDS=WORDS)
    return out
