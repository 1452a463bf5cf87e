"""Stage 1 of a selection: the only full read of the weights.

Of a float32 weight 4.25 bytes move: itself, a bit of each mask; and 0.008 of sums a tile. Packs of
16 bytes without an alive weight are not read. A candidate costs 6 bytes more, and is read twice,
mostly from a cache.
"""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.fold import packed
from impcore.ops.triton.tiles import at, load_tile, load_words, store_words, tile_of
from impcore.ops.triton.topk_state import HIGH, INSIDE, LOW, NON_FINITE, SPREAD, SPREADS
from impcore.ops.triton.words import (
    bits_of_packs,
    keys_of,
    magnitudes,
    pack_rows,
    popcount,
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
    counts,
    sums,
    pool_keys,
    pool_offsets,
    capacity,
    FLOAT: tl.constexpr,
    INTEGER: tl.constexpr,
    PARTS: tl.constexpr,
    TILE: tl.constexpr,
):
    """One tile: at or below the bracket pruned, at or above kept, candidates to the pool.

    sums: float64 [2, tiles], before and (of what is kept for sure) after.
    """
    LANES: tl.constexpr = 128 // INTEGER.primitive_bitwidth
    item = tl.program_id(0)
    tensor, offset, left, word = tile_of(chunks, item, PARTS, TILE)
    if left > 0:
        low = tl.load(control + LOW).to(tl.int32)
        high = tl.load(control + HIGH).to(tl.int32)
        address = at(pointers, tensor, offset, INTEGER)
        alive = load_words(mask_in, word, left, TILE)
        wanted = bits_of_packs(alive, LANES) != 0
        bits = load_tile(address, left, wanted, INTEGER, TILE)
        bits = tl.where(unpack_rows(alive, LANES), bits, 0)
        keys = keys_of(bits)
        stays = keys >= tl.maximum(high, low + 1)
        kept = alive & pack_rows(stays)
        candidates = alive & pack_rows(keys > low) & ~kept
        store_words(mask_out, word, left, kept, TILE)

        magnitude = magnitudes(bits, FLOAT)
        before = tl.sum(magnitude)
        tl.store(sums + item, before)
        after = tl.sum(tl.where(stays, magnitude, 0.0))
        tl.store(sums + tl.num_programs(0).to(tl.int64) + item, after)
        here = popcount(candidates)
        num_alive = tl.sum(popcount(alive), axis=0)
        both = tl.sum((popcount(kept) << 16) | here, axis=0)
        num_kept, found = both >> 16, both & 0xFFFF
        tl.store(counts + item, packed(num_alive, num_kept, found))
        spread = control + SPREAD + item % SPREADS * 16
        up_to_low = (num_alive - num_kept - found).to(tl.int64)
        tl.atomic_add(spread, up_to_low, sem="relaxed")
        tl.atomic_add(spread + 1, num_alive.to(tl.int64), sem="relaxed")
        # A tile's finite weights cannot overflow a double sum.
        if (before < float("inf")) == 0:
            infinity: tl.constexpr = (
                0x7F800000 if tl.int32 == INTEGER else (0x7C00 if tl.float16 == FLOAT else 0x7F80)
            )
            bad = tl.sum((keys >= infinity).to(tl.int32)).to(tl.int64)
            tl.atomic_add(control + NON_FINITE, bad, sem="relaxed")
        if found > 0:
            first = tl.atomic_add(control + INSIDE, found.to(tl.int64), sem="relaxed")
            tl.store(firsts + item, first)
            if first + found <= capacity:
                _collect(
                    address, candidates, here, pool_keys + first, pool_offsets + first, INTEGER
                )
    else:
        tl.store(sums + item, 0.0)
        tl.store(sums + tl.num_programs(0).to(tl.int64) + item, 0.0)
        tl.store(counts + item, 0)


@triton.jit
def _collect(address, candidates, here, keys, offsets, INTEGER: tl.constexpr):
    """Writes a tile's candidates, in order.

    A round takes the lowest one of every word: as many rounds as a word has at most.
    """
    w = tl.arange(0, candidates.shape[0])
    slot = tl.cumsum(here, axis=0) - here
    rounds = tl.max(here, axis=0)
    while rounds > 0:
        some = candidates != 0
        place = w * 32 + popcount((candidates & -candidates) - 1)
        theta = address.to(tl.pointer_type(INTEGER)) + place
        tl.store(keys + slot, keys_of(tl.load(theta, mask=some, other=0)), mask=some)
        tl.store(offsets + slot, place.to(tl.int16), mask=some)
        slot += 1
        candidates = candidates & (candidates - 1)
        rounds -= 1
