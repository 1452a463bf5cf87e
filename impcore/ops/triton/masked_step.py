"""What the optimisers' steps share: a table of tensors, tiles of weights, and device scalars.

Arithmetic is csrc/cpu's: float32 for half types, float64 for float64, nothing fused, IEEE division
and roots. Invariant: every program reads `found_inf` before it touches anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl

from impcore.ops.triton import tables
from impcore.ops.triton.words import unpack_rows

TILE = 2048
COLUMNS = tl.constexpr(9)  # of the table: where its columns are is in `tensors`


def tensors(lists: Sequence[Sequence[torch.Tensor]], words: list[int]) -> tuple[torch.Tensor, int]:
    """The table int64 [params, 9], and how many tiles all params have.

    Columns: the end of the param's tiles, elements, first mask word, then the addresses of up to
    six lists: params, gradients, states.
    """
    params = lists[0]
    ends = accumulate(triton.cdiv(p.numel(), TILE) for p in params)
    rows: list[int] = []
    tiles = 0
    for i, tiles in enumerate(ends):
        row = [tiles, params[i].numel(), words[i], *(each[i].data_ptr() for each in lists)]
        rows += row + [0] * (9 - len(row))
    return tables.table(rows, params[0].device), tiles


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
def locate(table, params, tile):
    """The row of the param that a tile belongs to, by bisection, and the tile's first element."""
    low = tile * 0
    high = low + params - 1
    while low < high:
        middle = (low + high) // 2
        if tl.load(table + middle.to(tl.int64) * COLUMNS) <= tile:
            low = middle + 1
        else:
            high = middle
    row = table + low.to(tl.int64) * COLUMNS
    numel = tl.load(row + 1)
    tiles = (numel + 2047) // 2048
    return low, row, (tile - (tl.load(row) - tiles)) * 2048


@triton.jit
def alive_of(mask, row, start, left, MASKED: tl.constexpr, TILE: tl.constexpr):
    """Which weights of a tile are alive: bool [TILE]; all, if the param has no mask."""
    word = tl.load(row + 2)
    w = tl.arange(0, TILE // 32)
    wanted = (w * 32 < left) & (word >= 0)
    if MASKED:
        words = tl.load(mask + tl.maximum(word, 0) + start // 32 + w, mask=wanted, other=-1)
    else:
        words = tl.full([TILE // 32], -1, tl.int32)
    return tl.reshape(unpack_rows(words), [TILE])


@triton.jit
def read(row, column: tl.constexpr, start, valid, KIND: tl.constexpr, WORK: tl.constexpr,
         TILE: tl.constexpr):  # fmt: skip
    """A tile of a list in the working precision."""
    pointer = tl.load(row + column).to(tl.pointer_type(KIND)) + start
    return tl.load(pointer + tl.arange(0, TILE), mask=valid, other=0.0).to(WORK)


@triton.jit
def put(row, column: tl.constexpr, start, values, alive, valid, KIND: tl.constexpr,
        TILE: tl.constexpr):  # fmt: skip
    """Stores a tile, all-zero bits where it is dead."""
    pointer = tl.load(row + column).to(tl.pointer_type(KIND)) + start
    rounded = tl.where(alive, values, 0.0).to(KIND)
    tl.store(pointer + tl.arange(0, TILE), rounded, mask=valid)


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
