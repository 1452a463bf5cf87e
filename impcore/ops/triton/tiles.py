"""Where a program's tile of weights is, and how it is read and written.

A whole tile that begins at a multiple of 16 bytes moves in packs of 16; any other, which is the
last one of a tensor or part of a misaligned view, element by element. Which of both is decided
where the kernel runs, tile by tile. Offsets are 64-bit; within a tile 32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_of(chunks, item, PARTS: tl.constexpr, TILE: tl.constexpr):
    """A tile's tensor, first element, weights (at most 0: it lies beyond its chunk), mask word."""
    row = chunks + (item // PARTS).to(tl.int64) * 5
    start = (item % PARTS) * TILE
    left = tl.minimum(tl.load(row + 2) - start, TILE).to(tl.int32)
    return tl.load(row), tl.load(row + 1) + start, left, tl.load(row + 3) + start // 32


@triton.jit
def at(pointers, tensor, offset, KIND: tl.constexpr):
    """The address of an element of a tensor in an address table."""
    return tl.load(pointers + tensor) + offset * (KIND.primitive_bitwidth // 8)


@triton.jit
def is_whole(addresses, left, TILE: tl.constexpr):
    """Whether a tile can move in packs; addresses: of all its lists, joined by `or`."""
    return (left == TILE) & ((addresses & 15) == 0)


@triton.jit
def load_words(mask, word, left, TILE: tl.constexpr):
    """The tile's mask words, int32 [words]; 0 beyond its end."""
    w = tl.arange(0, TILE // 32)
    return tl.load(mask + word + w, mask=w * 32 < left, other=0)


@triton.jit
def store_words(mask, word, left, words, TILE: tl.constexpr):
    """Writes the tile's mask words."""
    w = tl.arange(0, TILE // 32)
    tl.store(mask + word + w, words, mask=w * 32 < left)


@triton.jit
def places(LANES: tl.constexpr, TILE: tl.constexpr):
    """Each weight's place in the tile, int32 [words, packs, lanes]."""
    word = (tl.arange(0, TILE // 32) * 32)[:, None, None]
    pack = (tl.arange(0, 32 // LANES) * LANES)[None, :, None]
    return word + pack + tl.arange(0, LANES)[None, None, :]


@triton.jit
def _pointers(address, KIND: tl.constexpr, WHOLE: tl.constexpr, TILE: tl.constexpr):
    first = address.to(tl.pointer_type(KIND))
    if WHOLE:
        first = tl.multiple_of(first, 16)
    return first + places(128 // KIND.primitive_bitwidth, TILE)


@triton.jit
def load_packs(address, left, wanted, KIND: tl.constexpr, WHOLE: tl.constexpr, TILE: tl.constexpr):
    """Elements [words, packs, lanes] of the wanted packs (bool [words, packs, 1]); else 0."""
    if not WHOLE:
        wanted = wanted & (places(128 // KIND.primitive_bitwidth, TILE) < left)
    return tl.load(_pointers(address, KIND, WHOLE, TILE), mask=wanted, other=0)


@triton.jit
def store_packs(address, left, values, wanted, KIND: tl.constexpr, WHOLE: tl.constexpr,
                TILE: tl.constexpr):  # fmt: skip
    """Writes the wanted packs."""
    if not WHOLE:
        wanted = wanted & (places(128 // KIND.primitive_bitwidth, TILE) < left)
    tl.store(_pointers(address, KIND, WHOLE, TILE), values, mask=wanted)


@triton.jit
def load_tile(address, left, wanted, KIND: tl.constexpr, TILE: tl.constexpr):
    """`load_packs` by what the tile allows."""
    if is_whole(address, left, TILE):
        values = load_packs(address, left, wanted, KIND, True, TILE)
    else:
        values = load_packs(address, left, wanted, KIND, False, TILE)
    return values
