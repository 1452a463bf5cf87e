"""What the optimisers' steps share: tables of tensors, tiles of weights, and device scalars.

Arithmetic is csrc/cpu's: float32 for half types, float64 for float64, nothing fused, IEEE division
and roots, subnormals kept. A list is read and written once, in packs of 16 bytes where all of a
tile's lists allow it; packs that are dead as a whole are not read. Invariant: every program reads
`found_inf` before it touches anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl

from impcore.ops.triton import tables
from impcore.ops.triton.tiles import load_packs, load_words, store_packs
from impcore.ops.triton.words import bits_of_packs, unpack_rows

TILE = 2048


def tensors(
    params: Sequence[torch.Tensor], states: Sequence[Sequence[torch.Tensor]], words: list[int]
) -> tuple[torch.Tensor, int]:
    """The table int64 [columns, params], and how many tiles all params have.

    Columns: the end of the param's tiles, elements, first mask word, then the addresses of params
    and states. Gradients move from step to step, and have a table of their own.
    """
    ends = list(accumulate(triton.cdiv(p.numel(), TILE) for p in params))
    columns = [ends, [p.numel() for p in params], words]
    columns += [[t.data_ptr() for t in each] for each in (params, *states)]
    return tables.table([x for column in columns for x in column], params[0].device), ends[-1]


def optional(scalar: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """The scalar, or any tensor for a kernel that will not look at it."""
    return like if scalar is None else scalar


@triton.jit
def skipped(found_inf, HAS: tl.constexpr):
    """Whether GradScaler found infinities."""
    if HAS:
        return tl.load(found_inf) != 0.0
    else:
        return tl.program_id(0) < 0


@triton.jit
def locate(table, params, tile, TILE: tl.constexpr):
    """The param that a tile belongs to, by bisection, its first element, and how many it has."""
    low = tile * 0
    high = low + params - 1
    while low < high:
        middle = (low + high) // 2
        if tl.load(table + middle) <= tile:
            low = middle + 1
        else:
            high = middle
    numel = tl.load(table + params + low)
    tiles = (numel + TILE - 1) // TILE
    start = (tile - (tl.load(table + low) - tiles)) * TILE
    return low, start, tl.minimum(numel - start, TILE).to(tl.int32)


@triton.jit
def at(table, params, i, row: tl.constexpr, start, KIND: tl.constexpr):
    """The address of a tile's first element; row 0: of the param, then of its states."""
    first = tl.load(table + (3 + row) * params + i)
    return first + start * (KIND.primitive_bitwidth // 8)


@triton.jit
def alive_of(table, params, i, mask, start, left, MASKED: tl.constexpr, TILE: tl.constexpr):
    """The mask words of a tile; all bits set, if the param has no mask."""
    every = tl.full([TILE // 32], -1, tl.int32)
    if MASKED:
        word = tl.load(table + 2 * params + i)
        if word >= 0:
            every = load_words(mask, word + start // 32, left, TILE)
    return every


@triton.jit
def read(address, left, alive, KIND: tl.constexpr, WORK: tl.constexpr, WHOLE: tl.constexpr,
         TILE: tl.constexpr):  # fmt: skip
    """A tile of a list in the working precision; 0 where a whole pack is dead."""
    wanted = bits_of_packs(alive, 128 // KIND.primitive_bitwidth) != 0
    return load_packs(address, left, wanted, KIND, WHOLE, TILE).to(WORK)


@triton.jit
def put(address, left, alive, values, KIND: tl.constexpr, WHOLE: tl.constexpr,
        TILE: tl.constexpr):  # fmt: skip
    """Stores a tile, all-zero bits where it is dead."""
    LANES: tl.constexpr = 128 // KIND.primitive_bitwidth
    rounded = tl.where(unpack_rows(alive, LANES), values, 0.0).to(KIND)
    every = tl.full([TILE // 32, 32 // LANES, 1], 1, tl.int1)
    store_packs(address, left, rounded, every, KIND, WHOLE, TILE)


@triton.jit
def divide(a, b, WORK: tl.constexpr):
    """IEEE division."""
    if tl.float32 == WORK:
        return tl.div_rn(a, b)
    else:
        return a / b


@triton.jit
def root(a, WORK: tl.constexpr):
    """IEEE square root."""
    if tl.float32 == WORK:
        return tl.sqrt_rn(a)
    else:
        return tl.sqrt(a)


@triton.jit
def gradient(g, grad_scale, SCALED: tl.constexpr, MAXIMIZE: tl.constexpr, WORK: tl.constexpr):
    """The gradient as GradScaler and `maximize` have it."""
    if SCALED:
        g = divide(g, tl.zeros_like(g) + tl.load(grad_scale).to(WORK), WORK)
    if MAXIMIZE:
        g = 0.0 - g
    return g
