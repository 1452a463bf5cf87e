"""What the stages of a selection tell each other through device memory.

`control` is int64 [CONTROL], zeroed before a selection: numbers, then histograms of 256 bins. What
one launch writes the next one reads; within a launch programs only add to it (relaxed: nothing
else depends on the order), until the last one of them draws its conclusion.

Invariant: every stage derives the same decision from it; nothing depends on the order of programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Where the single numbers are. INSIDE has a line of memory to itself: every tile waits for it.
SAMPLED = tl.constexpr(0)  # places that the sample looked at
LOW = tl.constexpr(1)  # the bracket's lower end
HIGH = tl.constexpr(2)  # its upper end
NON_FINITE = tl.constexpr(3)
POOLED = tl.constexpr(4)  # whether the threshold is among the candidates
THRESHOLD = tl.constexpr(5)
QUOTA = tl.constexpr(6)  # how many of its ties are pruned
TIES = tl.constexpr(7)  # how many there are
LAST_CHUNK = tl.constexpr(8)  # ties of earlier chunks are pruned, of later ones kept
LAST_QUOTA = tl.constexpr(9)  # how many of its own, in order
PIVOT = tl.constexpr(10)  # a key that splits the sample at k's share of it, more or less
PAIRS = tl.constexpr(11)  # of neighbouring places
SQUARES = tl.constexpr(12)  # of how much the two differ in keys up to the pivot; their sum
INSIDE = tl.constexpr(16)  # candidates: alive keys strictly inside the bracket
TICKETS = tl.constexpr(32)  # one a launch: take, refine x 2, narrow x 4, ties
ENDS = tl.constexpr(48)  # the first key of both quantiles' bins and the rank there, a level
RANGES = tl.constexpr(64)  # first key, span, rank, ties so far, of the threshold's range, a level
SPREAD = tl.constexpr(128)  # UP_TO_LOW and ALIVE of every 32nd tile, each pair in a line
SPREADS = tl.constexpr(32)
SAMPLES = tl.constexpr(128 + 32 * 16)  # histograms of the sample: 3 levels for two quantiles
BINS = tl.constexpr(128 + 32 * 16 + 6 * 256)  # those that narrow to the threshold: 4 levels
CONTROL = 128 + 32 * 16 + 10 * 256


@triton.jit
def is_last(control, launch):
    """Whether all other programs of this launch have come here; then what they wrote is seen.

    Every thread's writes come before the barrier, and the ticket's release after it. What they
    wrote is then to be read by `settled`, past this multiprocessor's own cache.
    """
    tl.debug_barrier()
    return tl.atomic_add(control + TICKETS + launch, 1, sem="acq_rel") == tl.num_programs(0) - 1


@triton.jit
def settled(pointers):
    """What other programs of this launch have written, seen by the last one."""
    return tl.load(pointers, cache_modifier=".cg")


@triton.jit
def add_bins(bins, keys, counted, shift):
    """Adds a program's keys [n], shifted to 8 bits, to a histogram."""
    found = tl.histogram((keys >> shift) & 255, 256, mask=counted)
    tl.atomic_add(bins + tl.arange(0, 256), found.to(tl.int64), mask=found > 0, sem="relaxed")


@triton.jit
def find_bin(bins, rank):
    """The bin that holds the rank-th smallest (1-based), how many lie below it, and in it."""
    count = settled(bins + tl.arange(0, 256))
    up_to = tl.cumsum(count, axis=0)
    before = up_to < rank
    found = tl.sum(before.to(tl.int32), axis=0)
    here = tl.sum(tl.where(tl.arange(0, 256) == found, count, 0), axis=0)
    return found, tl.sum(tl.where(before, count, 0), axis=0), here


@triton.jit
def sample_target(control, k_scalar, total):
    """k's share of all weights, and of how many samples: both float64 (csrc/plan.h).

    Dead weights count as keys above all others, so the number of alive ones is not needed.
    """
    k = tl.minimum(tl.maximum(tl.load(k_scalar), 0), total)
    q = k.to(tl.float64) / tl.maximum(total, 1).to(tl.float64)
    return q, settled(control + SAMPLED).to(tl.float64)


@triton.jit
def sample_ranks(q, samples, total, capacity, effect):
    """1-based ranks of the bracket's ends among the sampled keys (csrc/plan.h).

    effect: how many times the variance of independent draws theirs is.
    """
    room = tl.where(capacity < total, 0.45 * capacity / tl.maximum(total, 1), 1.0)
    margin = 4 * tl.sqrt(effect * q * (1.0 - q) * samples) + 2.0
    margin = tl.minimum(margin, room * samples)
    target = q * samples
    low = tl.floor(target - margin).to(tl.int64) + 1
    high = tl.ceil(target + margin).to(tl.int64) + 1
    return low, high


@triton.jit
def design_effect(control, q, PLACE: tl.constexpr):
    """The variance of the sample as a multiple of that of independent draws (csrc/plan.h)."""
    variance = q * (1.0 - q)
    squares = settled(control + SQUARES).to(tl.float64) + 4 * variance * PLACE * PLACE
    pairs = settled(control + PAIRS).to(tl.float64) + 2
    effect = squares / (2 * pairs * PLACE * tl.maximum(variance, 1e-30))
    return tl.minimum(tl.maximum(effect, 1.0), PLACE)


@triton.jit
def spread_sums(control):
    """Alive keys at or under the bracket's lower end, and all alive ones."""
    slot = control + SPREAD + tl.arange(0, SPREADS) * 16
    return tl.sum(tl.load(slot), axis=0), tl.sum(tl.load(slot + 1), axis=0)


@triton.jit
def decide(control, k_scalar, capacity, KEY_BITS: tl.constexpr):
    """The status, and where the threshold is: pooled (among the candidates), keys, rank there.

    The status is > 0 if alive weights are not finite, -1 if k does not fit. If the bracket missed,
    or the candidates did not fit the pool, everything alive is looked at.
    """
    k = tl.load(k_scalar)
    up, alive = spread_sums(control)
    inside = tl.load(control + INSIDE)
    status = tl.where((k < 0) | (k > alive), -1, tl.load(control + NON_FINITE))
    top = (1 << KEY_BITS) - 1
    low, high = tl.load(control + LOW).to(tl.int32), tl.load(control + HIGH).to(tl.int32)
    below = k < up
    beyond = k > up + inside
    pooled = (below == 0) & (beyond == 0) & (inside <= capacity)
    first = tl.where(below, 0, tl.where(beyond, tl.maximum(high, low + 1), low + 1))
    last = tl.where(below, low, tl.where(beyond, top, high - 1))
    rank = tl.where(below, k, tl.where(beyond, k - up - inside, k - up))
    return status, pooled, first, last - first, rank


@triton.jit
def shift_of(span):
    """By how many bits a range of span + 1 keys is shifted to fall into 256 bins."""
    bits = tl.sum(((span >> tl.arange(0, 32)) != 0).to(tl.int32), axis=0)
    return tl.maximum(bits - 8, 0)
