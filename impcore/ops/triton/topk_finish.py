"""Stages 2 to 4 of a selection: the exact threshold, the tie quota, and the last bits and sums.

Each works on the candidates or, if they do not hold the threshold, on everything alive.
"""

from __future__ import annotations

import triton
import triton.language as tl

from impcore.ops.triton.topk_state import (
    INSIDE,
    LAST_CHUNK,
    LAST_QUOTA,
    RANGES,
    THRESHOLD,
    decide,
    narrowed,
    status_of,
)
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

COLUMNS = tl.constexpr(64)  # candidates of a tile that are looked at together


@triton.jit
def _tile(chunks, pointers, mask, tile, PARTS: tl.constexpr, INTEGER: tl.constexpr,
          TILE: tl.constexpr):  # fmt: skip
    """A tile's weights as bits, its live words, and its first word in the arena."""
    tensor, offset, length, word, _ = row_of(chunks, tile // PARTS)
    start = (tile % PARTS).to(tl.int64) * TILE
    w = tl.arange(0, TILE // 32)
    first_word = word + start // 32
    alive = tl.load(mask + first_word + w, mask=w * 32 < length - start, other=0)
    place = tile_offsets(TILE // 32)
    theta = at(pointers, tensor, offset + start, INTEGER)
    bits = tl.load(theta + place, mask=place < length - start, other=0)
    return bits, alive, first_word, length - start


@triton.jit
def _bin(control, keys, wanted, first, span, shift, LEVEL: tl.constexpr):
    above = keys - first
    mine = wanted & (above >= 0) & (above <= span)
    counted = tl.histogram(tl.where(mine, above >> shift, 0), 256, mask=mine).to(tl.int64)
    tl.atomic_add(control + RANGES + LEVEL * 256 + tl.arange(0, 256), counted, mask=counted > 0)


@triton.jit
def narrow(chunks, pointers, mask_in, control, pool_keys, k_scalar, tiles, capacity,
           LEVEL: tl.constexpr, KEY_BITS: tl.constexpr, INTEGER: tl.constexpr,
           PARTS: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """Counts the next 8 bits of the keys in the range that holds the threshold."""
    pooled, first, last, rank = decide(control, k_scalar, capacity, KEY_BITS)
    first, span, rank, shift = narrowed(control, first, last, rank, LEVEL)
    if (status_of(control, k_scalar) == 0) & (span > 0) & (rank > 0):
        if pooled:
            inside = tl.load(control + INSIDE)
            for start in range(tl.program_id(0) * TILE, inside, tl.num_programs(0) * TILE):
                slot = start + tl.arange(0, TILE)
                keys = tl.load(pool_keys + slot, mask=slot < inside, other=-1)
                _bin(control, keys, slot < inside, first, span, shift, LEVEL)
        else:
            for turn in range(0, tl.cdiv(tiles - tl.program_id(0), tl.num_programs(0))):
                tile = tl.program_id(0) + turn * tl.num_programs(0)
                bits, alive, _word, _left = _tile(
                    chunks, pointers, mask_in, tile, PARTS, INTEGER, TILE
                )
                keys = tl.reshape(keys_of(bits), [TILE])
                flags = tl.reshape(unpack_rows(alive), [TILE])
                _bin(control, keys, flags, first, span, shift, LEVEL)


@triton.jit
def _threshold(control, k_scalar, capacity, KEY_BITS: tl.constexpr, LEVELS: tl.constexpr):
    """Whether it is among the candidates, its key, and how many of its ties are pruned."""
    pooled, first, last, rank = decide(control, k_scalar, capacity, KEY_BITS)
    none = rank == 0
    first, _, rank, _ = narrowed(control, first, last, rank, LEVELS)
    return pooled, tl.where(none, -1, first), tl.where(none, 0, rank)


@triton.jit
def _rows(firsts, founds, chunk, PARTS: tl.constexpr):
    """Where the candidates of a chunk's tiles begin, and how many there are."""
    tile = chunk.to(tl.int64) * PARTS + tl.arange(0, PARTS)
    return tile, tl.load(firsts + tile), tl.load(founds + tile)


@triton.jit
def _count_ties(pool_keys, first, found, key, PARTS: tl.constexpr):
    """Candidates of each tile with this key."""
    column = tl.arange(0, COLUMNS)[None, :]
    ties = tl.zeros([PARTS], tl.int32)
    for start in range(0, tl.max(found, axis=0), COLUMNS):
        inside = start + column < found[:, None]
        keys = tl.load(pool_keys + first[:, None] + start + column, mask=inside, other=-1)
        ties += tl.sum(((keys == key) & inside).to(tl.int32), axis=1)
    return ties


@triton.jit
def ties(chunks, pointers, mask_in, control, firsts, founds, pool_keys, k_scalar, out, capacity,
         LEVELS: tl.constexpr, KEY_BITS: tl.constexpr, INTEGER: tl.constexpr,
         PARTS: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """Counts a chunk's alive weights at the threshold."""
    chunk = tl.program_id(0)
    if status_of(control, k_scalar) == 0:
        pooled, key, _rank = _threshold(control, k_scalar, capacity, KEY_BITS, LEVELS)
        if pooled:
            _tile_index, first, found = _rows(firsts, founds, chunk, PARTS)
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


@triton.jit
def quota(control, k_scalar, ties, num_chunks, capacity, status, KEY_BITS: tl.constexpr,
          LEVELS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """One program: the status, the threshold, and the chunk in which its quota of ties ends."""
    found = status_of(control, k_scalar)
    tl.store(status, found)
    if found == 0:
        _, key, left = _threshold(control, k_scalar, capacity, KEY_BITS, LEVELS)
        last_chunk = left * 0
        start = left * 0
        lane = tl.arange(0, BLOCK)
        # The blocks before the one in which the quota ends, then within it.
        while start < num_chunks:
            here = tl.load(ties + start + lane, mask=start + lane < num_chunks, other=0)
            total = tl.sum(here, axis=0)
            if total < left:
                left -= total
                start += BLOCK
            else:
                earlier = tl.cumsum(here, axis=0) < left
                last_chunk = start + tl.sum(earlier.to(tl.int64), axis=0)
                left -= tl.sum(tl.where(earlier, here, 0), axis=0)
                start += num_chunks
        tl.store(control + THRESHOLD, key.to(tl.int64))
        tl.store(control + LAST_CHUNK, last_chunk)
        tl.store(control + LAST_QUOTA, left)


@triton.jit
def fix(chunks, pointers, mask_in, mask_out, control, firsts, founds, afters, kepts, pool_keys,
        pool_offsets, k_scalar, status, capacity, FLOAT: tl.constexpr, KEY_BITS: tl.constexpr,
        INTEGER: tl.constexpr, PARTS: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """The last bits of a chunk's mask, and its tiles' sums and counts after."""
    if tl.load(status) == 0:
        chunk = tl.program_id(0)
        key = tl.load(control + THRESHOLD).to(tl.int32)
        last_chunk = tl.load(control + LAST_CHUNK)
        most: tl.constexpr = 1 << 20
        quota = tl.where(chunk < last_chunk, most, 0).to(tl.int32)
        quota = tl.where(chunk == last_chunk, tl.load(control + LAST_QUOTA), quota).to(tl.int32)
        pooled, _first, _last, _rank = decide(control, k_scalar, capacity, KEY_BITS)
        if pooled:
            _fix_candidates(chunks, mask_out, firsts, founds, afters, kepts, pool_keys,
                            pool_offsets, chunk, key, quota, FLOAT, INTEGER, PARTS,
                            TILE)  # fmt: skip
        else:
            for part in range(0, PARTS):
                quota = _fix_tile(chunks, pointers, mask_in, mask_out, afters, kepts,
                                  chunk * PARTS + part, key, quota, FLOAT, INTEGER, PARTS,
                                  TILE)  # fmt: skip


@triton.jit
def _fix_candidates(chunks, mask_out, firsts, founds, afters, kepts, pool_keys, pool_offsets,
                    chunk, key, quota, FLOAT: tl.constexpr, INTEGER: tl.constexpr,
                    PARTS: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    tile, first, found = _rows(firsts, founds, chunk, PARTS)
    word = tl.load(chunks + chunk.to(tl.int64) * 5 + 3)
    first_word = word + tl.arange(0, PARTS).to(tl.int64) * (TILE // 32)
    # How many ties of earlier tiles, then of earlier columns, come before.
    ties = _count_ties(pool_keys, first, found, key, PARTS)
    passed = tl.cumsum(ties, axis=0) - ties
    column = tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros([PARTS], tl.float64)
    count = tl.zeros([PARTS], tl.int64)
    for start in range(0, tl.max(found, axis=0), COLUMNS):
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
        count += tl.sum(kept.to(tl.int64), axis=1)
    tl.store(afters + tile, tl.load(afters + tile) + total)
    tl.store(kepts + tile, tl.load(kepts + tile) + count)


@triton.jit
def _fix_tile(chunks, pointers, mask_in, mask_out, afters, kepts, tile, key, quota,
              FLOAT: tl.constexpr, INTEGER: tl.constexpr, PARTS: tl.constexpr,
              TILE: tl.constexpr):  # fmt: skip
    """Everything of a tile anew; returns what is left of the chunk's quota."""
    bits, alive, first_word, left = _tile(chunks, pointers, mask_in, tile, PARTS, INTEGER, TILE)
    keys = keys_of(bits)
    kept = alive & pack_rows(keys > key)
    tied = alive & pack_rows(keys == key)
    here = popcount(tied)
    passed = tl.cumsum(here, axis=0) - here
    pruned = tl.minimum(tl.maximum(quota - passed, 0), here)
    for _round in range(0, tl.max(pruned, axis=0)):
        tied = tl.where(pruned > 0, tied & (tied - 1), tied)
        pruned -= 1
    kept = kept | tied
    w = tl.arange(0, TILE // 32)
    tl.store(mask_out + first_word + w, kept, mask=w * 32 < left)
    magnitude = tl.where(unpack_rows(kept), magnitudes(bits, FLOAT), 0.0)
    tl.store(afters + tile, tl.sum(tl.sum(magnitude, axis=1), axis=0))
    tl.store(kepts + tile, tl.sum(popcount(kept), axis=0).to(tl.int64))
    return tl.maximum(quota - tl.sum(here, axis=0), 0)
