"""Seeded random selections in bulk, and what a stable sort says about them.

NumPy only, so that a fresh process can sweep them without importing torch. A batch holds many cases
side by side in one weight buffer and one arena. Invariant: nothing here comes from the package; the
order keys, the packing, the chunk table and the selection are written down a second time.

Everything a kernel must not touch is poisoned: the weights between tensors are NaN, a guard word
with a pattern follows each case's arena.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHUNK = 65536
GUARD = 0xA5C35A3C


@dataclass(frozen=True)
class Format:
    """How a dtype's bits become a 31-bit order key."""

    code: int
    bits: type
    shift: int
    mantissa: int
    infinity: int  # as a key

    @property
    def sign(self) -> int:
        return 0x80000000 >> self.shift

    def keys(self, bits: np.ndarray) -> np.ndarray:
        return (bits.astype(np.uint32) & np.uint32(self.sign - 1)) << np.uint32(self.shift)

    def encode(self, values: np.ndarray) -> np.ndarray:
        if self.code == 2:
            return values.astype(np.float16).view(np.uint16)
        wide = values.astype(np.float32).view(np.uint32)
        return wide if self.code == 0 else ((wide + np.uint32(0x8000)) >> 16).astype(np.uint16)

    def decode(self, bits: np.ndarray) -> np.ndarray:
        if self.code == 2:
            return bits.view(np.float16).astype(np.float64)
        wide = bits if self.code == 0 else bits.astype(np.uint32) << np.uint32(16)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            return wide.view(np.float32).astype(np.float64)


FORMATS = {
    "float32": Format(0, np.uint32, 0, 23, 0x7F800000),
    "bfloat16": Format(1, np.uint16, 16, 7, 0x7F800000),
    "float16": Format(2, np.uint16, 16, 10, 0x7C000000),
}

DISTRIBUTIONS = [
    "normal",
    "layered",
    "constant",
    "two_values",
    "rising",
    "falling",
    "small_range",
    "zeros",
    "subnormal",
    "huge",
    "any",
]


def small_sizes(rng: np.random.Generator) -> list[int]:
    """One to six tensors around the word boundaries, empty and scalar ones included."""
    edges = [0, 1, 1, 2, 31, 32, 33, 63, 64, 65]
    return [
        int(rng.choice(edges)) if rng.random() < 0.6 else int(rng.integers(0, 180))
        for _ in range(rng.integers(1, 7))
    ]


def border_sizes(rng: np.random.Generator) -> list[int]:
    """Tensors around the chunk boundaries."""
    edges = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 33, 40_000]
    return [int(rng.choice(edges)) for _ in range(rng.integers(2, 6))]


def large_sizes(rng: np.random.Generator) -> list[int]:
    """Some 1.5 million weights over several tensors, seldom 4 million."""
    total = int(rng.integers(500_000, 2_500_000)) if rng.random() < 0.9 else 4_000_000
    shares = rng.dirichlet(np.full(rng.integers(1, 12), 0.7))
    return [*(int(s) for s in shares * total), 0, 1]


def chunk_table(numels: list[int], words: list[int], blocks: list[int]) -> np.ndarray:
    """Rows of tensor, offset, length, word, block (the plan's contract)."""
    rows = [
        (t, at, min(CHUNK, n - at), word + at // 32, block)
        for t, (n, word, block) in enumerate(zip(numels, words, blocks, strict=True))
        for at in range(0, n, CHUNK)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


class Batch:
    """Random cases of one dtype: inputs, and what a selection and a commit must give."""

    def __init__(
        self,
        seed: int,
        dtype: str,
        cases: int,
        sizes: Callable[[np.random.Generator], list[int]] = small_sizes,
        clean: bool = False,
    ) -> None:
        """`clean`: no case that must be refused."""
        self.seed, self.dtype, self.format, self.cases = seed, dtype, FORMATS[dtype], cases
        self._rng = np.random.default_rng([seed, self.format.code])
        self._lay_out([sizes(self._rng) for _ in range(cases)])
        self._draw_weights(clean)
        self._draw_targets(clean)
        self._select()
        self._draw_brackets()

    def _lay_out(self, sizes: list[list[int]]) -> None:
        rng = self._rng
        self.sizes = sizes
        self.blocks: list[list[int]] = []
        self.num_blocks = np.array([rng.integers(1, len(s) + 1) for s in sizes])
        self.tables: list[np.ndarray] = []
        self.first_word = np.zeros(self.cases + 1, dtype=np.int64)
        starts: list[int] = []
        for c, numels in enumerate(sizes):
            counts = [-(-n // 32) for n in numels]
            words = np.concatenate([[0], np.cumsum(counts)]).astype(int).tolist()
            blocks = rng.integers(0, self.num_blocks[c], len(numels)).tolist()
            self.blocks.append(blocks)
            self.tables.append(chunk_table(numels, words[:-1], blocks))
            starts += [int(self.first_word[c]) + w for w in words[:-1]]
            self.first_word[c + 1] = self.first_word[c] + words[-1] + 1  # one guard word
        self.num_words = int(self.first_word[-1])
        numel = np.array([n for s in sizes for n in s], dtype=np.int64)
        case_of = np.repeat(np.arange(self.cases), [len(s) for s in sizes])
        first_block = np.concatenate([[0], np.cumsum(self.num_blocks)[:-1]])
        block_of = first_block[case_of] + np.concatenate(self.blocks).astype(np.int64)
        self.tensor = np.repeat(np.arange(numel.size), numel)
        self.offset = np.arange(numel.sum()) - np.repeat(np.cumsum(numel) - numel, numel)
        self.start = np.array(starts, dtype=np.int64)
        self.position = 32 * self.start[self.tensor] + self.offset
        self.case = case_of[self.tensor]
        self.block = block_of[self.tensor]
        self.guards = self.first_word[1:] - 1
        self.shift = int(rng.integers(0, 4))  # elements by which the buffer is misaligned

    def _draw_weights(self, clean: bool) -> None:
        rng, fmt, n = self._rng, self.format, self.case.size
        density = rng.choice(
            [1.0, 1.0, 0.8, 0.5, 0.1, 0.0], self.cases, p=[0.3, 0.1, 0.2, 0.2, 0.15, 0.05]
        )
        self.alive = rng.random(n) < density[self.case]
        kind = rng.integers(0, len(DISTRIBUTIONS), self.cases)[self.case]
        bits = np.zeros(n, dtype=fmt.bits)
        for i, name in enumerate(DISTRIBUTIONS):
            at = np.flatnonzero(kind == i)
            bits[at] = self._draw(name, at)
        garbage = (rng.random(self.cases) < 0.5)[self.case] & ~self.alive
        bits[~self.alive] = 0
        bits[garbage] = rng.integers(0, 2 * fmt.sign, int(garbage.sum())).astype(fmt.bits)
        if not clean:
            hit = np.flatnonzero(rng.random(n) < (0.2 * (rng.random(self.cases) < 0.05))[self.case])
            top = fmt.infinity >> fmt.shift
            payload = rng.integers(0, 1 << fmt.mantissa, hit.size) * rng.integers(0, 2, hit.size)
            bits[hit] = (top + payload + fmt.sign * rng.integers(0, 2, hit.size)).astype(fmt.bits)
        self.bits = bits
        self.keys = fmt.keys(bits)
        self.magnitudes = np.abs(fmt.decode(bits))

    def _draw(self, name: str, at: np.ndarray) -> np.ndarray:
        """Finite bits for the elements `at` (x86-simd-sort's list of distributions, and zeros)."""
        rng, fmt, n = self._rng, self.format, at.size
        signs = (fmt.sign * rng.integers(0, 2, n)).astype(np.int64)
        top = fmt.infinity >> fmt.shift
        by_case = rng.standard_normal((2, self.cases))[:, self.case[at]]
        if name == "zeros":
            return signs.astype(fmt.bits)
        if name == "subnormal":
            return (signs + rng.integers(0, 1 << fmt.mantissa, n)).astype(fmt.bits)
        if name == "huge":
            return (signs + top - 1 - rng.integers(0, 1 << fmt.mantissa, n)).astype(fmt.bits)
        if name == "any":
            return (signs + rng.integers(0, top, n)).astype(fmt.bits)
        if name == "layered":
            scales = 10.0 ** rng.uniform(-6, 3, self.start.size)
            return fmt.encode(rng.standard_normal(n) * scales[self.tensor[at]])
        values = {
            "normal": lambda: rng.standard_normal(n),
            "constant": lambda: by_case[0],
            "two_values": lambda: np.where(rng.random(n) < 0.5, by_case[0], by_case[1]),
            "rising": lambda: (1 + self.offset[at]) * 1e-3,
            "falling": lambda: -1e3 / (1 + self.offset[at]),
            "small_range": lambda: rng.uniform(128.6, 128.7, n),
        }[name]()
        return fmt.encode(values)

    def _draw_targets(self, clean: bool) -> None:
        rng = self._rng
        alive = np.bincount(self.case[self.alive], minlength=self.cases)
        bad = self.alive & (self.keys >= self.format.infinity)
        self.non_finite = np.bincount(self.case[bad], minlength=self.cases)
        fixed = [0 * alive, np.minimum(1, alive), alive, np.maximum(alive - 1, 0)]
        wrong = [alive] if clean else [alive + 1, 0 * alive - 1]
        shares = [
            np.round(0.2 * alive),
            *(np.floor(rng.random(self.cases) * alive) for _ in range(5)),
        ]
        choices = np.stack([*fixed, *shares * 3, *wrong]).astype(np.int64)
        self.k = choices[rng.integers(0, len(choices), self.cases), np.arange(self.cases)]
        fits = (self.k >= 0) & (self.k <= alive)
        self.status = np.where(fits, self.non_finite, -1)

    def _select(self) -> None:
        """The first k alive of each case in one stable sort by (case, key)."""
        at = np.flatnonzero(self.alive)
        order = at[np.argsort(self.case[at] << 32 | self.keys[at], kind="stable")]
        case = self.case[order]
        rank = np.arange(order.size) - np.searchsorted(case, np.arange(self.cases))[case]
        self.kept = self.alive.copy()
        self.kept[order[rank < self.k[case]]] = False
        at_threshold = rank == np.maximum(self.k - 1, 0)[case]
        self.threshold = np.zeros(self.cases, dtype=np.int64)
        self.threshold[case[at_threshold]] = self.keys[order[at_threshold]]

    def _draw_brackets(self) -> None:
        """None, or an interval to start from: hits and misses of every kind."""
        rng, threshold, top = self._rng, self.threshold, 0x7FFFFFFF
        width = np.int64(2) ** rng.integers(0, 30, self.cases)
        other = rng.integers(0, top, self.cases)
        lows_highs = [
            (0 * threshold, 0 * threshold + top),  # everything
            (0 * threshold, np.maximum(threshold - width, 0)),  # too low
            (np.minimum(threshold + width, top), 0 * threshold + top),  # too high
            (np.maximum(threshold - width, 0), np.minimum(threshold + width, top)),  # a hit
            (threshold, threshold),  # the one key
            (np.minimum(threshold + 1, top),) * 2,  # the key after it
            (other, np.minimum(other + width, top)),  # anywhere
            (0 * threshold, 0 * threshold),
            (0 * threshold + top,) * 2,
        ]
        kind = rng.integers(-len(lows_highs), len(lows_highs), self.cases)
        self.brackets = [
            None if j < 0 else (int(lows_highs[j][0][c]), int(lows_highs[j][1][c]))
            for c, j in enumerate(kind.tolist())
        ]

    def arena(self, bools: np.ndarray) -> np.ndarray:
        """A bool a weight as the words of all cases, guards set."""
        padded = np.zeros(32 * self.num_words, dtype=bool)
        padded[self.position] = bools
        words = np.packbits(padded, bitorder="little").view(np.uint32)
        words[self.guards] = GUARD
        return words

    def buffer(self, bits: np.ndarray) -> np.ndarray:
        """All cases' weights, with NaN before, between and after the tensors."""
        nan = (self.format.infinity >> self.format.shift) + 1
        out = np.full(32 * self.num_words + 8, nan, dtype=self.format.bits)
        out[self.position + self.shift] = bits
        return out

    def addresses(self, buffer: np.ndarray) -> list[list[int]]:
        """For each case its tensors' addresses in `buffer`."""
        at = (buffer.ctypes.data + buffer.itemsize * (32 * self.start + self.shift)).tolist()
        ends = np.cumsum([0, *map(len, self.sizes)]).tolist()
        return [at[a:b] for a, b in itertools.pairwise(ends)]

    def sums(self, mask: np.ndarray) -> np.ndarray:
        """Sum of |m theta| (row 0) and of m (row 1) for all cases' blocks, side by side."""
        columns = int(self.num_blocks.sum())
        masked, block = self.magnitudes[mask], self.block[mask]
        with np.errstate(invalid="ignore"):
            totals = np.bincount(block, weights=masked, minlength=columns)
        return np.stack([totals, np.bincount(block, minlength=columns)])

    def describe(self, case: int) -> str:
        """What one needs to build the case again."""
        return (
            f"Batch(seed={self.seed}, dtype={self.dtype!r}, cases={self.cases}) case {case}: "
            f"sizes {self.sizes[case]}, k={self.k[case]}, status {self.status[case]}, "
            f"threshold key {self.threshold[case]:#x}, bracket {self.brackets[case]}"
        )
