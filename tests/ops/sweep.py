"""Runs a batch of cases through the native kernels and compares every byte they may write.

As a program (`python -m ops.sweep THREADS`, in tests/) it prints a digest of all masks and sums, so
that instruction sets, which a process chooses once, can be compared.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from impcore import _C

from .cases import GUARD, Batch, border_sizes, large_sizes

WORKSPACE_GUARD = 64


@dataclass
class Outcome:
    """What the kernels wrote, for all cases of a batch side by side."""

    mask_out: np.ndarray
    mask: np.ndarray  # after the commit
    weights: np.ndarray  # after the commit
    status: np.ndarray
    before: np.ndarray  # [2, columns]
    after: np.ndarray
    l1: np.ndarray  # block_l1 under the mask before


def source_bits(batch: Batch) -> np.ndarray:
    """What survivors are rewound to in every second batch: any bits at all, NaN included."""
    rng = np.random.default_rng([batch.seed, 99])
    return rng.integers(0, 2 * batch.format.sign, batch.case.size).astype(batch.format.bits)


def run(batch: Batch, threads: int) -> Outcome:
    """What the CPU's kernels make of a batch."""
    return play(batch, lambda *buffers: _Calls(batch, threads, *buffers))


class Calls(Protocol):
    """The kernels' calls on the cases of one batch."""

    def select(self, case: int, *arrays: np.ndarray) -> None:
        """Arrays: mask_in, mask_out, status, sums before and after, block_l1's sums."""

    def commit(self, case: int, *arrays: np.ndarray) -> None:
        """Arrays: mask, mask_out, status."""


def play(batch: Batch, calls_on: Callable[[np.ndarray, np.ndarray | None], Calls]) -> Outcome:
    """Select, then commit, each case on its own; raises if a select writes where it must not.

    Args:
        batch: the cases.
        calls_on: from the buffers of weights, and of sources or None, to the calls.
    """
    rng = np.random.default_rng(batch.seed)
    weights = batch.buffer(batch.bits)
    source = batch.buffer(source_bits(batch))
    mask_in, weights_in = batch.arena(batch.alive), weights.copy()
    mask_out = rng.integers(0, 2**32, batch.num_words, dtype=np.uint32)
    mask_out[batch.guards] = GUARD
    mask = mask_in.copy()
    columns = int(batch.num_blocks.sum())
    flat = [rng.standard_normal(2 * columns) for _ in range(3)]
    status = rng.integers(-9, 9, batch.cases)
    calls = calls_on(weights, source if batch.seed % 2 else None)
    for case in range(batch.cases):
        calls.select(case, mask, mask_out, status, *flat)
    assert np.array_equal(weights, weights_in), "a select wrote to the weights"
    assert np.array_equal(mask, mask_in), "a select wrote to mask_in"
    for case in range(batch.cases):
        calls.commit(case, mask, mask_out, status)
    sums = [_by_row(batch, values) for values in flat]
    return Outcome(mask_out, mask, weights, status, *sums)


class _Calls:
    """The native calls of one batch, on poisoned scratch memory."""

    def __init__(self, batch: Batch, threads: int, weights: np.ndarray, source: np.ndarray | None):
        self.batch, self.threads = batch, threads
        self.weights = self.operands(batch.addresses(weights))
        self.source = None if source is None else self.operands(batch.addresses(source))
        self.needed = [_C.topk_mask_workspace(t.ctypes.data, len(t)) for t in batch.tables]
        self.workspace = np.empty(max(self.needed, default=0) + WORKSPACE_GUARD, dtype=np.uint8)
        self.chunks = [(t.ctypes.data, len(t)) for t in batch.tables]
        self.first_sum = (2 * (np.cumsum(batch.num_blocks) - batch.num_blocks)).tolist()
        self.first_word = batch.first_word.tolist()
        self.num_blocks = batch.num_blocks.tolist()

    def operands(self, addresses):  # type: ignore[no-untyped-def]
        return [_C.Operands(self.batch.format.code, one) for one in addresses]

    def select(self, case, mask_in, mask_out, status, before, after, l1):  # type: ignore[no-untyped-def]
        poison = (37 * case + 11) % 256
        self.workspace.fill(poison)
        word, column = 4 * self.first_word[case], 8 * self.first_sum[case]
        weights, chunks, blocks = self.weights[case], self.chunks[case], self.num_blocks[case]
        _C.topk_mask(
            weights,
            *chunks,
            blocks,
            mask_in.ctypes.data + word,
            mask_out.ctypes.data + word,
            int(self.batch.k[case]),
            self.workspace.ctypes.data,
            status.ctypes.data + 8 * case,
            before.ctypes.data + column,
            after.ctypes.data + column,
            self.batch.brackets[case],
            self.threads,
        )
        end = self.needed[case]
        beyond = self.workspace[end : end + WORKSPACE_GUARD]
        assert (beyond == poison).all(), f"wrote past the workspace: {self.batch.describe(case)}"
        _C.block_l1(
            weights,
            *chunks,
            blocks,
            mask_in.ctypes.data + word,
            l1.ctypes.data + column,
            self.threads,
        )

    def commit(self, case, mask, mask_out, status):  # type: ignore[no-untyped-def]
        word = self.first_word[case]
        _C.commit(
            self.weights[case],
            *self.chunks[case],
            _C.Operands(0, []) if self.source is None else self.source[case],
            mask.ctypes.data + 4 * word,
            mask_out.ctypes.data + 4 * word,
            status.ctypes.data + 8 * case,
            self.threads,
        )


def _by_row(batch: Batch, flat: np.ndarray) -> np.ndarray:
    """From [2, blocks] a case, one after the other, to one [2, columns]."""
    block = np.arange(flat.size // 2)
    case = np.repeat(np.arange(batch.cases), batch.num_blocks)
    first = (np.cumsum(batch.num_blocks) - batch.num_blocks)[case]
    top = block + first
    return np.stack([flat[top], flat[top + batch.num_blocks[case]]])


def verify_masks_and_sums(batch: Batch, got: Outcome) -> None:
    """Raises AssertionError, describing the first bad case, unless all is as the sort says."""
    clean = batch.status == 0
    case_of_word = np.repeat(np.arange(batch.cases), np.diff(batch.first_word))
    _same(batch, "status", got.status, batch.status, np.arange(batch.cases))
    checked = clean[case_of_word]
    checked[batch.guards] = True
    kept = batch.arena(batch.kept)
    _same(batch, "mask_out", got.mask_out[checked], kept[checked], case_of_word[checked])
    committed = np.where(clean[batch.case], batch.kept, batch.alive)
    _same(batch, "mask", got.mask, batch.arena(committed), case_of_word)
    values = source_bits(batch) if batch.seed % 2 else batch.bits
    bits = np.where(clean[batch.case], np.where(batch.kept, values, 0), batch.bits)
    padded_case = np.append(np.repeat(case_of_word, 32), np.full(8, batch.cases - 1))
    _same(batch, "weights", got.weights, batch.buffer(bits.astype(batch.bits.dtype)), padded_case)
    _verify_sums(batch, got, np.repeat(np.arange(batch.cases), batch.num_blocks))


def verify(batch: Batch, got: Outcome) -> None:
    """As `verify_masks_and_sums`; and block_l1 agrees with the selection's own sums to the bit."""
    verify_masks_and_sums(batch, got)
    case = np.repeat(np.arange(batch.cases), batch.num_blocks)
    clean = (batch.status == 0)[case]
    same_bits = (got.before.view(np.int64) == got.l1.view(np.int64)).all(axis=0) | ~clean
    _same(batch, "sums_before against block_l1", same_bits, np.ones_like(clean), case)


def _verify_sums(batch: Batch, got: Outcome, case: np.ndarray) -> None:
    clean = (batch.status == 0)[case]
    for name, sums, mask in (
        ("sums_before", got.before, batch.alive),
        ("sums_after", got.after, batch.kept),
    ):
        close = np.isclose(sums, batch.sums(mask), rtol=1e-12, atol=0).all(axis=0) | ~clean
        _same(batch, name, close, np.ones_like(close), case)
        _same(batch, f"count of {name}", sums[1][clean], batch.sums(mask)[1][clean], case[clean])
        zero = (sums == 0).all(axis=0) | clean
        _same(batch, f"{name} of a refused case", zero, np.ones_like(zero), case)
    close = np.isclose(got.l1, batch.sums(batch.alive), rtol=1e-12, atol=0, equal_nan=True)
    _same(batch, "block_l1", close.all(axis=0), np.ones_like(clean), case)


def _same(batch: Batch, what: str, got: np.ndarray, want: np.ndarray, case: np.ndarray) -> None:
    wrong = np.flatnonzero(got != want)
    if wrong.size:
        at = int(wrong[0])
        raise AssertionError(
            f"{what} differs in {wrong.size} places, first {got[at]} for {want[at]} "
            f"(word or element {at}) in {batch.describe(int(case[at]))}"
        )


def digest(batch: Batch, got: Outcome) -> str:
    """SHA-256 of everything that must not depend on threads or instruction set."""
    sha = hashlib.sha256()
    clean = (batch.status == 0)[np.repeat(np.arange(batch.cases), batch.num_blocks)]
    for array in (got.mask, got.weights, got.status, got.before[:, clean], got.after[:, clean]):
        sha.update(np.ascontiguousarray(array).tobytes())
    sha.update(np.where(np.isnan(got.l1), np.nan, got.l1).tobytes())  # one NaN for all
    return sha.hexdigest()


def batches() -> list[Batch]:
    """What the instruction sets are compared on."""
    small = [
        Batch(seed, dtype, 250) for dtype in ("float32", "bfloat16", "float16") for seed in (0, 1)
    ]
    border = [Batch(2, dtype, 2, border_sizes) for dtype in ("float32", "bfloat16", "float16")]
    return [*small, *border, Batch(3, "float32", 1, large_sizes)]


def main() -> None:
    threads = int(sys.argv[1])
    sha = hashlib.sha256()
    for batch in batches():
        got = run(batch, threads)
        verify(batch, got)
        sha.update(digest(batch, got).encode())
    print(_C.isa(), sha.hexdigest())


if __name__ == "__main__":
    main()
