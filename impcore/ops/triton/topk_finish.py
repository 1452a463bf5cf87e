"""Stages 2 to 4 of a selection: the exact threshold, the tie quota, and the last bits and sums.

Each works on the candidates, 4 to 6 bytes of some percent of the weights; or, if they do not hold
the threshold, on everything alive. Where all ties share a fate they are not counted by chunk.
"""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.fold import alive_in, found_in, packed
from impcore.ops.triton.tiles import at, load_tile, load_words, store_words, tile_of
from impcore.ops.triton.topk_state import (
    BINS,
    INSIDE,
    LAST_CHUNK,
    LAST_QUOTA,
    POOLED,
    QUOTA,
    RANGES,
    THRESHOLD,
    TIES,
    add_bins,
    decide,
    find_bin,
    is_last,
    shift_of,
)
from impcore.ops.triton.words import (
    bits_of_packs,
    keys_of,
    magnitudes,
    pack_rows,
    popcount,
    unpack_rows,
)

COLUMNS = tl.constexpr(64)  # candidates of a tile that are looked at together


@triton.jit
def _tile(chunks, pointers, mask, item, PARTS: tl.constexpr, INTEGER: tl.constexpr,
          TILE: tl.constexpr):  # fmt: skip
    """A tile's weights as bits, its live words, its first word in the arena, and its length."""
    LANES: tl.constexpr = 128 // INTEGER.primitive_bitwidth
    tensor, offset, left, word = tile_of(chunks, item, PARTS, TILE)
    alive = load_words(mask, word, left, TILE)
    wanted = bits_of_packs(alive, LANES) != 0
    bits = load_tile(at(pointers, tensor, offset, INTEGER), left, wanted, INTEGER, TILE)
    return bits, alive, word, left


@triton.jit
def _in_range(keys, wanted, first, span):
    above = keys - first
    return above, wanted & (above >= 0) & (above <= span)


# Else every other size of model would be compiled for anew.
@triton.jit(do_not_specialize=["tiles", "capacity"])
def narrow(chunks, pointers, mask_in, control, pool_keys, k_scalar, status, tiles, capacity,
           LEVEL: tl.constexpr, LEVELS: tl.constexpr, KEY_BITS: tl.constexpr,
           INTEGER: tl.constexpr, PARTS: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """Counts the next 8 bits of the keys in the range that holds the threshold."""
    program = tl.program_id(0)
    at_level = control + RANGES + 4 * LEVEL
    if LEVEL == 0:
        found, pooled, first, span, rank = decide(control, k_scalar, capacity, KEY_BITS)
        known = rank * 0
        # At rank 0 the first key is the threshold, and none of its ties is pruned.
        span = tl.where((rank > 0) & (found == 0), span, 0)
        if program == 0:
            tl.store(status, found)
            tl.store(control + POOLED, pooled.to(tl.int64))
    else:
        pooled = tl.load(control + POOLED) != 0
        first, span = tl.load(at_level).to(tl.int32), tl.load(at_level + 1).to(tl.int32)
        rank, known = tl.load(at_level + 2), tl.load(at_level + 3)
    if span > 0:
        shift = shift_of(span)
        bins = control + BINS + LEVEL * 256
        if pooled:
            inside = tl.load(control + INSIDE).to(tl.int32)
            start = program * TILE
            while start < inside:
                slot = start + tl.arange(0, TILE)
                keys = tl.load(pool_keys + slot, mask=slot < inside, other=-1)
                above, mine = _in_range(keys, slot < inside, first, span)
                add_bins(bins, above, mine, shift)
                start += tl.num_programs(0) * TILE
        else:
            item = program
            while item < tiles:
                bits, alive, _word, _left = _tile(
                    chunks, pointers, mask_in, item, PARTS, INTEGER, TILE
                )
                flags = tl.reshape(unpack_rows(alive, 128 // INTEGER.primitive_bitwidth), [TILE])
                above, mine = _in_range(tl.reshape(keys_of(bits), [TILE]), flags, first, span)
                add_bins(bins, above, mine, shift)
                item += tl.num_programs(0)
        if is_last(control, 3 + LEVEL):
            digit, below, here = find_bin(bins, rank)
            first += digit << shift
            _leave(control, LEVEL, LEVELS, first, (1 << shift) - 1, rank - below, here)
    elif program == 0:
        _leave(control, LEVEL, LEVELS, first, span, rank, known)


@triton.jit
def _leave(control, LEVEL: tl.constexpr, LEVELS: tl.constexpr, first, span, rank, ties):
    """The range for the next level; after the last it is one key, with so many ties pruned."""
    if LEVEL < LEVELS - 1:
        at_next = control + RANGES + 4 * (LEVEL + 1)
        tl.store(at_next, first.to(tl.int64))
        tl.store(at_next + 1, span.to(tl.int64))
        tl.store(at_next + 2, rank)
        tl.store(at_next + 3, ties)
    else:
        tl.store(control + THRESHOLD, first.to(tl.int64))
        tl.store(control + QUOTA, rank)
        tl.store(control + TIES, ties)


@triton.jit
def _rows(firsts, counts, chunk, PARTS: tl.constexpr):
    """Where the candidates of a chunk's tiles begin, and how many there are."""
    item = chunk.to(tl.int64) * PARTS + tl.arange(0, PARTS)
    found = found_in(tl.load(counts + item)).to(tl.int32)
    return item, tl.load(firsts + item, mask=found > 0, other=0), found


@triton.jit
def _count_ties(pool_keys, first, found, key, PARTS: tl.constexpr):
    """Candidates of each tile with this key."""
    column = tl.arange(0, COLUMNS)[None, :]
    ties = tl.zeros([PARTS], tl.int32)
    start = 0
    most = tl.max(found, axis=0)
    while start < most:
        inside = start + column < found[:, None]
        keys = tl.load(pool_keys + first[:, None] + start + column, mask=inside, other=-1)
        ties += tl.sum(((keys == key) & inside).to(tl.int32), axis=1)
        start += COLUMNS
    return ties


@triton.jit
def ties(chunks, pointers, mask_in, control, firsts, counts, pool_keys, status, out,
         INTEGER: tl.constexpr, PARTS: tl.constexpr, TILE: tl.constexpr,
         BLOCK: tl.constexpr):  # fmt: skip
    """Counts a chunk's alive weights at the threshold; the last program spreads their quota."""
    chunk = tl.program_id(0)
    quota, number = tl.load(control + QUOTA), tl.load(control + TIES)
    key = tl.load(control + THRESHOLD).to(tl.int32)
    # A range that was one key from the beginning has not been counted: its number is 0.
    shared = (quota > 0) & (quota != number) & (tl.load(status) == 0)
    if shared:
        if tl.load(control + POOLED) != 0:
            _item, first, found = _rows(firsts, counts, chunk, PARTS)
            here = _count_ties(pool_keys, first, found, key, PARTS)
            tl.store(out + chunk, tl.sum(here, axis=0).to(tl.int64))
        else:
            count = tl.zeros([TILE // 32], tl.int32)
            for part in range(0, PARTS):
                bits, alive, _word, _left = _tile(
                    chunks, pointers, mask_in, chunk * PARTS + part, PARTS, INTEGER, TILE
                )
                count += popcount(alive & pack_rows(keys_of(bits) == key))
            tl.store(out + chunk, tl.sum(count, axis=0).to(tl.int64))
        if is_last(control, 7):
            _spread(control, out, quota, BLOCK)
    elif chunk == 0:
        chunks_of_all = tl.num_programs(0).to(tl.int64)
        tl.store(control + LAST_CHUNK, tl.where(quota > 0, chunks_of_all, 0))
        tl.store(control + LAST_QUOTA, 0)


@triton.jit
def _spread(control, ties, left, BLOCK: tl.constexpr):
    """The chunk in which the quota of ties ends, and what is left for it."""
    num_chunks = tl.num_programs(0)
    last_chunk = left * 0
    start = 0
    lane = tl.arange(0, BLOCK)
    # The blocks before the one in which the quota ends, then within it.
    while start < num_chunks:
        wanted = start + lane < num_chunks
        here = tl.load(ties + start + lane, mask=wanted, other=0, cache_modifier=".cg")
        total = tl.sum(here, axis=0)
        if total < left:
            left -= total
            start += BLOCK
        else:
            earlier = tl.cumsum(here, axis=0) < left
            last_chunk = start + tl.sum(earlier.to(tl.int64), axis=0)
            left -= tl.sum(tl.where(earlier, here, 0), axis=0)
            start = num_chunks
    tl.store(control + LAST_CHUNK, last_chunk)
    tl.store(control + LAST_QUOTA, left)


@triton.jit
def fix(chunks, pointers, mask_in, mask_out, control, firsts, counts, afters, pool_keys,
        pool_offsets, status, FLOAT: tl.constexpr, INTEGER: tl.constexpr, PARTS: tl.constexpr,
        TILE: tl.constexpr):  # fmt: skip
    """The last bits of a chunk's mask, and its tiles' sums and counts after."""
    if tl.load(status) == 0:
        chunk = tl.program_id(0)
        key = tl.load(control + THRESHOLD).to(tl.int32)
        last_chunk = tl.load(control + LAST_CHUNK)
        most: tl.constexpr = 1 << 20
        quota = tl.where(chunk < last_chunk, most, 0).to(tl.int32)
        quota = tl.where(chunk == last_chunk, tl.load(control + LAST_QUOTA), quota).to(tl.int32)
        if tl.load(control + POOLED) != 0:
            _fix_candidates(chunks, mask_out, firsts, counts, afters, pool_keys, pool_offsets,
                            chunk, key, quota, FLOAT, INTEGER, PARTS, TILE)  # fmt: skip
        else:
            for part in range(0, PARTS):
                quota = _fix_tile(chunks, pointers, mask_in, mask_out, counts, afters,
                                  chunk * PARTS + part, key, quota, FLOAT, INTEGER, PARTS,
                                  TILE)  # fmt: skip


@triton.jit
def _fix_candidates(chunks, mask_out, firsts, counts, afters, pool_keys, pool_offsets, chunk, key,
                    quota, FLOAT: tl.constexpr, INTEGER: tl.constexpr, PARTS: tl.constexpr,
                    TILE: tl.constexpr):  # fmt: skip
    item, first, found = _rows(firsts, counts, chunk, PARTS)
    word = tl.load(chunks + chunk.to(tl.int64) * 5 + 3)
    first_word = word + tl.arange(0, PARTS).to(tl.int64) * (TILE // 32)
    # How many ties of earlier tiles, then of earlier columns, come before.
    passed = tl.zeros([PARTS], tl.int32)
    if (quota > 0) & (quota < TILE * PARTS):
        ties = _count_ties(pool_keys, first, found, key, PARTS)
        passed = tl.cumsum(ties, axis=0) - ties
    column = tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros([PARTS], tl.float64)
    count = tl.zeros([PARTS], tl.int32)
    start = 0
    most = tl.max(found, axis=0)
    while start < most:
        inside = start + column < found[:, None]
        slot = first[:, None] + start + column
        keys = tl.load(pool_keys + slot, mask=inside, other=-1)
        place = tl.load(pool_offsets + slot, mask=inside, other=0).to(tl.int32)
        tie = ((keys == key) & inside).to(tl.int32)
        rank = passed[:, None] + tl.cumsum(tie, axis=1)
        kept = inside & ((keys > key) | ((tie != 0) & (rank > quota)))
        passed += tl.sum(tie, axis=1)
        bit = tl.full([PARTS, COLUMNS], 1, tl.int32) << (place % 32)
        # Candidates of one word may be in one another's way.
        tl.atomic_or(mask_out + first_word[:, None] + place // 32, bit, mask=kept, sem="relaxed")
        magnitude = magnitudes(keys.to(INTEGER), FLOAT)
        total += tl.sum(tl.where(kept, magnitude, 0.0), axis=1)
        count += tl.sum(kept.to(tl.int32), axis=1)
        start += COLUMNS
    tl.store(afters + item, tl.load(afters + item) + total)
    tl.store(counts + item, tl.load(counts + item) + (count.to(tl.int64) << 16))


@triton.jit
def _fix_tile(chunks, pointers, mask_in, mask_out, counts, afters, item, key, quota,
              FLOAT: tl.constexpr, INTEGER: tl.constexpr, PARTS: tl.constexpr,
              TILE: tl.constexpr):  # fmt: skip
    """Everything of a tile anew; returns what is left of the chunk's quota."""
    bits, alive, word, left = _tile(chunks, pointers, mask_in, item, PARTS, INTEGER, TILE)
    keys = keys_of(bits)
    kept = alive & pack_rows(keys > key)
    tied = alive & pack_rows(keys == key)
    here = popcount(tied)
    passed = tl.cumsum(here, axis=0) - here
    pruned = tl.minimum(tl.maximum(quota - passed, 0), here)
    rounds = tl.max(pruned, axis=0)
    while rounds > 0:
        tied = tl.where(pruned > 0, tied & (tied - 1), tied)
        rounds -= 1
        pruned -= 1
    kept = kept | tied
    store_words(mask_out, word, left, kept, TILE)
    flags = unpack_rows(kept, 128 // INTEGER.primitive_bitwidth)
    tl.store(afters + item, tl.sum(magnitudes(tl.where(flags, bits, 0), FLOAT)))
    num_kept = tl.sum(popcount(kept), axis=0).to(tl.int64)
    tl.store(counts + item, packed(alive_in(tl.load(counts + item)), num_kept, 0))
    return tl.maximum(quota - tl.sum(here, axis=0), 0)
