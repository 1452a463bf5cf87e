"""Stage 1 of a selection: the only full read of the weights."""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.topk_state import ALIVE, HIGH, INSIDE, LOW, NON_FINITE, UP_TO_LOW
from impcore.ops.triton.words import (
    at,
    keys_of,
    magnitudes,
    pack_rows,
    popcount,
    row_of,
    tile_offsets,
    unpack_rows,
)


@triton.jit
def scan(
    chunks,
    pointers,
    mask_in,
    mask_out,
    control,
    firsts,
    founds,
    befores,
    afters,
    alives,
    kepts,
    pool_keys,
    pool_offsets,
    capacity,
    FLOAT: tl.constexpr,
    KEY_BITS: tl.constexpr,
    INTEGER: tl.constexpr,
    PARTS: tl.constexpr,
    TILE: tl.constexpr,
):
    """One tile: at or below the bracket pruned, at or above kept, candidates to the pool."""
    WORDS: tl.constexpr = TILE // 32
    program = tl.program_id(0)
    tensor, offset, length, word, _block = row_of(chunks, program // PARTS)
    start = (program % PARTS).to(tl.int64) * TILE
    left = length - start
    low = ((1 << KEY_BITS) - 1 - tl.load(control + LOW)).to(tl.int32)
    high = tl.load(control + HIGH).to(tl.int32)
    theta = at(pointers, tensor, offset + start, INTEGER)
    w = tl.arange(0, WORDS)
    words = word + start // 32 + w
    alive = tl.load(mask_in + words, mask=w * 32 < left, other=0)
    place = tile_offsets(WORDS)
    bits = tl.load(theta + place, mask=place < left, other=0)
    keys = keys_of(bits)
    above_low = keys > low
    kept_flags = above_low & (keys >= high)
    not_low = alive & pack_rows(above_low)
    kept = alive & pack_rows(kept_flags)
    candidates = not_low & ~kept
    tl.store(mask_out + words, kept, mask=w * 32 < left)

    magnitude = tl.where(unpack_rows(alive), magnitudes(bits, FLOAT), 0.0)
    before = tl.sum(tl.sum(magnitude, axis=1), axis=0)
    after = tl.sum(tl.sum(tl.where(kept_flags, magnitude, 0.0), axis=1), axis=0)
    num_alive = tl.sum(popcount(alive), axis=0).to(tl.int64)
    num_low = tl.sum(popcount(alive & ~not_low), axis=0).to(tl.int64)
    here = popcount(candidates)
    found = tl.sum(here, axis=0).to(tl.int64)
    first = tl.atomic_add(control + INSIDE, found)
    tl.atomic_add(control + UP_TO_LOW, num_low)
    tl.atomic_add(control + ALIVE, num_alive)
    tl.store(firsts + program, first)
    tl.store(founds + program, found)
    tl.store(befores + program, before)
    tl.store(afters + program, after)
    tl.store(alives + program, num_alive)
    tl.store(kepts + program, num_alive - num_low - found)
    # A tile's finite weights cannot overflow a double sum.
    if (before < float("inf")) == 0:
        infinity: tl.constexpr = (
            0x7F800000 if tl.int32 == INTEGER else (0x7C00 if tl.float16 == FLOAT else 0x7F80)
        )
        again = keys_of(tl.load(theta + place, mask=place < left, other=0))
        bad = popcount(alive & pack_rows(again >= infinity))
        tl.atomic_add(control + NON_FINITE, tl.sum(bad, axis=0).to(tl.int64))
    if first + found <= capacity:
        # A round takes the lowest candidate of every word: as many rounds as a word has at most.
        slot = first + (tl.cumsum(here, axis=0) - here).to(tl.int64)
        rest = candidates
        for _round in range(0, tl.max(here, axis=0)):
            some = rest != 0
            lane = popcount((rest & -rest) - 1)
            spot = w * 32 + lane
            key = keys_of(tl.load(theta + spot, mask=some, other=0))
            tl.store(pool_keys + slot, key, mask=some)
            tl.store(pool_offsets + slot, spot.to(tl.int16), mask=some)
            slot += 1
            rest = rest & (rest - 1)
