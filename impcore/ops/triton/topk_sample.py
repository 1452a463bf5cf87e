"""Stage 0 of a selection: a bracket that very probably holds the k-th smallest key, from a sample.

Invariant: nothing depends on the bracket but speed; later stages check it. It reads one sector (8
weights, 32 bytes in float32) of 512 weights or more, and a mask word for it. The weights of such a
place may be alike: how much neighbouring places differ tells how uncertain the sample is.
"""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.topk_state import (
    ENDS,
    LOW,
    PAIRS,
    PIVOT,
    SAMPLED,
    SAMPLES,
    SQUARES,
    add_bins,
    design_effect,
    find_bin,
    is_last,
    sample_ranks,
    sample_target,
    settled,
)
from impcore.ops.triton.words import CHUNK, keys_of

GROUP = 8  # neighbours sampled together: a sector of memory
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
    k_scalar,
    total,
    capacity,
    GROUPS: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    LEVELS: tl.constexpr,
    INTEGER: tl.constexpr,
    KEY_BITS: tl.constexpr,
):
    """Keys of ROWS chunks, 8 neighbours from each STRIDE at a hashed place; -1: dead, -2: none."""
    chunk = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    valid = chunk < num_chunks
    row = chunks + chunk * 5
    tensor = tl.load(row, mask=valid, other=0)
    offset = tl.load(row + 1, mask=valid, other=0)
    length = tl.load(row + 2, mask=valid, other=0).to(tl.int32)
    word = tl.load(row + 3, mask=valid, other=0)
    base = tl.load(pointers + tensor, mask=valid, other=0)
    group = tl.arange(0, GROUPS)[None, :]
    here = tl.minimum(tl.maximum(length[:, None] - group * STRIDE, 0), STRIDE)
    seed = (word[:, None].to(tl.int32) + group).to(tl.uint32)
    sectors = tl.maximum(here // 8, 1).to(tl.uint32)
    sector = ((_hash(seed) >> 16) * sectors) >> 16
    first = group * STRIDE + sector.to(tl.int32) * 8
    bits = tl.load(mask + word[:, None] + first // 32, mask=first < length[:, None], other=0) >> (
        first % 32
    )
    lane = tl.arange(0, 8)[None, None, :]
    place = first[:, :, None] + lane
    # A short tail gives as many samples as it has a share of the stride.
    sampled = (lane * STRIDE < here[:, :, None] * 8) & (place < length[:, None, None])
    alive = ((bits[:, :, None] >> lane) & 1 != 0) & sampled
    theta = (base + offset * (INTEGER.primitive_bitwidth // 8)).to(tl.pointer_type(INTEGER))
    keys = keys_of(tl.load(theta[:, None, None] + place, mask=alive, other=0))
    keys = tl.where(alive, keys, tl.where(sampled, -1, -2))
    slot = chunk[:, None, None] * (GROUPS * 8) + group[:, :, None] * 8 + lane
    tl.store(samples + slot, keys, mask=valid[:, None, None])
    tl.atomic_add(control + SAMPLED, tl.sum(sampled.to(tl.int32)).to(tl.int64), sem="relaxed")
    flat = tl.reshape(keys, [ROWS * GROUPS * 8])
    add_bins(control + SAMPLES, flat, flat >= 0, KEY_BITS - 8)
    if is_last(control, 0):
        q, number = sample_target(control, k_scalar, total)
        counted = tl.sum(settled(control + SAMPLES + tl.arange(0, 256)), axis=0)
        # Where the ends are if all weights of a place are alike.
        low, high = sample_ranks(q, number, total, capacity, 8.0)
        # Beyond the sample an end is that of all keys, and its rank 0.
        low = tl.where(low < 1, 0, tl.minimum(low, counted))
        high = tl.where(high > counted, 0, high)
        _enter(control, 0, low, 0, 0, LEVELS, KEY_BITS)
        _enter(control, 1, high, 0, 0, LEVELS, KEY_BITS)
        _split(control, tl.minimum((q * number).to(tl.int64) + 1, counted), KEY_BITS)


@triton.jit
def _split(control, rank, KEY_BITS: tl.constexpr):
    """Leaves the key of about this rank as the pivot, as if its bin's keys were evenly spread."""
    after: tl.constexpr = KEY_BITS - 8
    found, below, here = find_bin(control + SAMPLES, rank)
    within = ((rank - below) << after) // tl.maximum(here, 1)
    tl.store(control + PIVOT, tl.where(rank > 0, (found.to(tl.int64) << after) + within, 0))


@triton.jit
def _enter(control, end: tl.constexpr, rank, first, LEVEL: tl.constexpr, LEVELS: tl.constexpr,
           KEY_BITS: tl.constexpr):  # fmt: skip
    """Finds the bin of an end at a level: its first key and the rank there; after all, the end."""
    top: tl.constexpr = (1 << KEY_BITS) - 1
    after: tl.constexpr = KEY_BITS - 8 * (LEVEL + 1)
    # Both ends begin with the same histogram.
    bins = control + SAMPLES if LEVEL == 0 else control + SAMPLES + (2 * LEVEL + end) * 256
    found, below, _here = find_bin(bins, rank)
    first += tl.where(rank > 0, found << after, 0)
    tl.store(control + ENDS + 4 * LEVEL + 2 * end, first.to(tl.int64))
    tl.store(control + ENDS + 4 * LEVEL + 2 * end + 1, tl.where(rank > 0, rank - below, 0))
    if LEVEL == LEVELS - 1:
        # A bin of several keys is inside as a whole; one key alone is the end itself.
        low = tl.maximum(first - 1, 0) if after > 0 else first
        high = first + (1 << after) if after > 0 else first
        bound = tl.where(rank > 0, low, 0) if end == 0 else tl.where(rank > 0, high, top)
        tl.store(control + LOW + end, bound.to(tl.int64))


@triton.jit
def _compare(control, keys, BLOCK: tl.constexpr):
    """Adds up how much the two places of each pair differ in keys up to the pivot."""
    pairs = tl.reshape(keys, [BLOCK // 16, 16])
    sign = 1 - (tl.arange(0, 16) // 8) * 2
    counted = (pairs >= 0) & (pairs <= tl.load(control + PIVOT))
    more = tl.sum(tl.where(counted, sign[None, :], 0), axis=1)
    whole = tl.min(pairs, axis=1) >= -1
    squares = tl.sum(tl.where(whole, more * more, 0), axis=0)
    tl.atomic_add(control + SQUARES, squares.to(tl.int64), sem="relaxed")
    tl.atomic_add(control + PAIRS, tl.sum(whole.to(tl.int64), axis=0), sem="relaxed")


@triton.jit
def _moves(control, k_scalar, total, capacity):
    """By how many ranks the ends come nearer to each other, now that the places are compared."""
    q, number = sample_target(control, k_scalar, total)
    low, high = sample_ranks(q, number, total, capacity, 8.0)
    nearer_low, nearer_high = sample_ranks(q, number, total, capacity, design_effect(control, q, 8))
    return nearer_low - low, nearer_high - high


@triton.jit
def refine(
    control,
    samples,
    count,
    k_scalar,
    total,
    capacity,
    LEVEL: tl.constexpr,
    LEVELS: tl.constexpr,
    KEY_BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The next 8 bits of both ends of the bracket; with the first of them the ends come nearer.

    But not out of the bin of the first 8 bits, in which alone the next ones are counted.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keys = tl.load(samples + place, mask=place < count, other=-2)
    if LEVEL == 1:
        _compare(control, keys, BLOCK)
    before: tl.constexpr = KEY_BITS - 8 * LEVEL
    for e in range(2):
        at = control + ENDS + 4 * (LEVEL - 1) + 2 * e
        mine = (keys >= 0) & ((keys >> before) == (tl.load(at) >> before).to(tl.int32))
        mine = mine & (tl.load(at + 1) > 0)
        if tl.max(mine.to(tl.int32), axis=0) > 0:
            add_bins(control + SAMPLES + (2 * LEVEL + e) * 256, keys, mine, before - 8)
    if is_last(control, LEVEL):
        for end in tl.static_range(2):
            at = control + ENDS + 4 * (LEVEL - 1) + 2 * end
            rank = tl.load(at + 1)
            if LEVEL == 1:
                low, high = _moves(control, k_scalar, total, capacity)
                bins = control + SAMPLES + (2 + end) * 256
                here = tl.sum(settled(bins + tl.arange(0, 256)), axis=0)
                moved = tl.minimum(tl.maximum(rank + (high if end else low), 1), here)
                rank = tl.where(rank > 0, moved, 0)
            _enter(control, end, rank, tl.load(at).to(tl.int32), LEVEL, LEVELS, KEY_BITS)
