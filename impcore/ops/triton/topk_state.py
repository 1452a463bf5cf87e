"""What the stages of a selection tell each other through device memory.

`control` is int64 [CONTROL], zeroed before a selection: numbers, then histograms of 256 bins.
Invariant: every stage derives the same decision from it; nothing depends on the order of programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Where the single numbers are.
SAMPLED = tl.constexpr(0)  # places that the sample looked at
LOW = tl.constexpr(1)  # the greatest key minus the bracket's lower end
HIGH = tl.constexpr(2)  # the bracket's upper end
UP_TO_LOW = tl.constexpr(3)  # alive keys at or under the lower end
INSIDE = tl.constexpr(4)  # candidates: alive keys strictly inside
ALIVE = tl.constexpr(5)
NON_FINITE = tl.constexpr(6)
THRESHOLD = tl.constexpr(7)
LAST_CHUNK = tl.constexpr(8)  # ties of earlier chunks are pruned, of later ones kept
LAST_QUOTA = tl.constexpr(9)  # how many of its own, in order
SAMPLES = tl.constexpr(64)  # histograms of the sample: 3 levels for two quantiles
RANGES = tl.constexpr(64 + 6 * 256)  # histograms that narrow to the threshold: 4 levels
CONTROL = 64 + 10 * 256


@triton.jit
def find_bin(bins, rank):
    """The bin that holds the rank-th smallest (1-based), and how many lie below it."""
    count = tl.load(bins + tl.arange(0, 256))
    before = tl.cumsum(count, axis=0) < rank
    return tl.sum(before.to(tl.int32), axis=0), tl.sum(tl.where(before, count, 0), axis=0)


@triton.jit
def sample_quantiles(control, k_scalar, total):
    """1-based ranks of the bracket's ends among the sampled alive keys (csrc/plan.h).

    Dead weights count as keys above all others, so the number of alive ones is not needed.
    """
    samples = tl.load(control + SAMPLED).to(tl.float64)
    k = tl.minimum(tl.maximum(tl.load(k_scalar), 0), total)
    q = k.to(tl.float64) / tl.maximum(total, 1).to(tl.float64)
    margin = 8.5 * tl.sqrt(q * (1.0 - q) * samples) + 1.0
    target = q * samples
    low = tl.floor(target - margin).to(tl.int64) + 1
    high = tl.ceil(target + margin).to(tl.int64) + 1
    return low, high


@triton.jit
def sample_bin(control, quantile, rank, LEVEL: tl.constexpr, KEY_BITS: tl.constexpr):
    """The lowest key of the bin that holds a quantile after LEVEL levels, and its rank there."""
    first = rank.to(tl.int32) * 0
    for level in tl.static_range(LEVEL):
        bins = control + SAMPLES + (2 * level + quantile) * 256
        found, below = find_bin(bins, rank)
        first += found << (KEY_BITS - 8 * (level + 1))
        rank -= below
    return first, rank


@triton.jit
def status_of(control, k_scalar):
    """0: clean; > 0: non-finite alive weights; -1: k does not fit."""
    k = tl.load(k_scalar)
    wrong = (k < 0) | (k > tl.load(control + ALIVE))
    return tl.where(wrong, -1, tl.load(control + NON_FINITE))


@triton.jit
def decide(control, k_scalar, capacity, KEY_BITS: tl.constexpr):
    """Where the threshold is: pooled (among the candidates), its range of keys, its rank there.

    If the bracket missed, or the candidates did not fit the pool, everything alive is looked at.
    """
    k = tl.load(k_scalar)
    up, inside = tl.load(control + UP_TO_LOW), tl.load(control + INSIDE)
    top = (1 << KEY_BITS) - 1
    low = (top - tl.load(control + LOW)).to(tl.int32)
    high = tl.load(control + HIGH).to(tl.int32)
    below = k <= up
    beyond = k > up + inside
    pooled = (below == 0) & (beyond == 0) & (inside <= capacity)
    first = tl.where(below, 0, tl.where(beyond, tl.maximum(high, low + 1), low + 1))
    last = tl.where(below, low, tl.where(beyond, top, high - 1))
    rank = tl.where(below, k, tl.where(beyond, k - up - inside, k - up))
    return pooled, first, last, rank


@triton.jit
def shift_after(span, level: tl.constexpr):
    """Bits of a key that `level` levels of 8 leave open in a range of span + 1 keys."""
    bits = tl.sum(((span >> tl.arange(0, 32)) != 0).to(tl.int32), axis=0)
    return tl.maximum(bits - 8 * level, 0)


@triton.jit
def narrowed(control, first, last, rank, LEVEL: tl.constexpr):
    """The range [first, first + span] and rank after LEVEL levels, and the next level's shift."""
    span = last - first
    whole = span
    for level in tl.static_range(LEVEL):
        shift = shift_after(whole, level + 1)
        # A range of one key needs no more levels.
        if span > 0:
            found, below = find_bin(control + RANGES + level * 256, rank)
            first += found << shift
            rank -= below
            span = (1 << shift) - 1
    return first, span, rank, shift_after(whole, LEVEL + 1)
