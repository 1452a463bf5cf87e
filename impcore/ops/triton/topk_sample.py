"""Stage 0 of a selection: a bracket that very probably holds the k-th smallest key, from a sample.

Invariant: nothing depends on the bracket but speed; later stages check it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.topk_state import (
    HIGH,
    LOW,
    SAMPLED,
    SAMPLES,
    sample_bin,
    sample_quantiles,
)
from impcore.ops.triton.words import keys_of

GROUP = 8  # neighbours sampled together: a sector of memory
CHUNK = 65536
BLOCK = 4096
MAX_GROUPS = 131072


def groups_of(total: int) -> int:
    """Groups in a chunk: one per 512 weights, fewer in huge models; a power of two."""
    groups = CHUNK // 512
    while groups > 1 and total // CHUNK * groups > MAX_GROUPS:
        groups //= 2
    return groups


@triton.jit
def _hash(x):
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def take(
    chunks,
    pointers,
    mask,
    control,
    samples,
    num_chunks,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    INTEGER: tl.constexpr,
    KEY_BITS: tl.constexpr,
):
    """Keys of ROWS chunks, 8 neighbours from each stride at a hashed place; -1: dead, or none."""
    COLUMNS: tl.constexpr = GROUPS * 8
    stride: tl.constexpr = 65536 // GROUPS
    chunk = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    valid = chunk < num_chunks
    row = chunks + chunk * 5
    tensor = tl.load(row, mask=valid, other=0)
    offset = tl.load(row + 1, mask=valid, other=0)
    length = tl.load(row + 2, mask=valid, other=0).to(tl.int32)
    word = tl.load(row + 3, mask=valid, other=0)
    base = tl.load(pointers + tensor, mask=valid, other=0)
    column = tl.arange(0, COLUMNS)
    group = (column // 8)[None, :]
    lane = (column % 8)[None, :]
    here = tl.minimum(tl.maximum(length[:, None] - group * stride, 0), stride)
    seed = (word[:, None].to(tl.int32) + group).to(tl.uint32)
    room = tl.maximum(here - 7, 1).to(tl.uint32)
    place = group * stride + (_hash(seed) % room).to(tl.int32) + lane
    # A short tail gives as many samples as it has a share of the stride.
    sampled = (lane * stride < here * 8) & (place < length[:, None])
    alive = tl.load(mask + word[:, None] + place // 32, mask=sampled, other=0)
    alive = ((alive >> (place % 32)) & 1 != 0) & sampled
    theta = (base + offset * (INTEGER.primitive_bitwidth // 8))[:, None].to(
        tl.pointer_type(INTEGER)
    )
    keys = keys_of(tl.load(theta + place, mask=alive, other=0))
    keys = tl.where(alive, keys, -1)
    tl.store(samples + chunk[:, None] * COLUMNS + column[None, :], keys, mask=valid[:, None])
    tl.atomic_add(control + SAMPLED, tl.sum(tl.sum(sampled.to(tl.int64), axis=1), axis=0))
    flat = tl.reshape(keys, [ROWS * COLUMNS])
    counted = tl.histogram(flat >> (KEY_BITS - 8) & 255, 256, mask=flat >= 0).to(tl.int64)
    tl.atomic_add(control + SAMPLES + tl.arange(0, 256), counted)
    tl.atomic_add(control + SAMPLES + 256 + tl.arange(0, 256), counted)


@triton.jit
def refine(
    control,
    samples,
    count,
    k_scalar,
    total,
    LEVEL: tl.constexpr,
    KEY_BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The next 8 bits of both ends of the bracket."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keys = tl.load(samples + place, mask=place < count, other=-1)
    ranks = sample_quantiles(control, k_scalar, total)
    before: tl.constexpr = KEY_BITS - 8 * LEVEL
    after: tl.constexpr = before - 8
    for quantile in tl.static_range(2):
        first, _ = sample_bin(control, quantile, ranks[quantile], LEVEL, KEY_BITS)
        mine = (keys >= 0) & ((keys >> before) == (first >> before))
        counted = tl.histogram(keys >> after & 255, 256, mask=mine).to(tl.int64)
        bins = control + SAMPLES + (2 * LEVEL + quantile) * 256
        tl.atomic_add(bins + tl.arange(0, 256), counted)


@triton.jit
def bracket(
    control,
    samples,
    count,
    k_scalar,
    total,
    LEVEL: tl.constexpr,
    KEY_BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The ends: the least sampled key of the lower bin, and the greatest of the upper one."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keys = tl.load(samples + place, mask=place < count, other=-1)
    ranks = sample_quantiles(control, k_scalar, total)
    counted = tl.sum(tl.load(control + SAMPLES + tl.arange(0, 256)), axis=0)
    top: tl.constexpr = (1 << KEY_BITS) - 1
    shift: tl.constexpr = KEY_BITS - 8 * LEVEL
    low, _ = sample_bin(control, 0, tl.maximum(ranks[0], 1), LEVEL, KEY_BITS)
    high, _ = sample_bin(control, 1, tl.minimum(ranks[1], counted), LEVEL, KEY_BITS)
    lower = (keys >= 0) & ((keys >> shift) == (low >> shift))
    upper = (keys >= 0) & ((keys >> shift) == (high >> shift))
    above_low = tl.max(tl.where(lower, top - keys, 0), axis=0).to(tl.int64)
    up_to_high = tl.max(tl.where(upper, keys, 0), axis=0).to(tl.int64)
    # Both maxima begin at 0. Beyond the sample an end is that of all keys.
    tl.atomic_max(control + LOW, tl.where(ranks[0] < 1, top, above_low))
    tl.atomic_max(control + HIGH, tl.where(ranks[1] > counted, top, up_to_high))
