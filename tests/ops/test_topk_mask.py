"""The selection against a stable sort, to the bit, on every instruction set."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impcore
from impcore import ops

from . import cases, sweep, tensors

DTYPES = ["float32", "bfloat16", "float16"]
LARGE = [(seed, DTYPES[seed % 3]) for seed in range(200)]


def check(batch, threads):
    """Runs the batch at each number of threads; all of it must be right, and the same bytes."""
    digests = set()
    for count in threads:
        got = sweep.run(batch, count)
        sweep.verify(batch, got)
        digests.add(sweep.digest(batch, got))
    assert len(digests) == 1


@pytest.mark.parametrize("seed", range(20))
def test_20_000_small_cases_equal_a_stable_sort(seed):
    check(cases.Batch(seed, DTYPES[seed % 3], 1000), threads=(1, 2))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_1_000_000_small_cases_equal_a_stable_sort(seed):
    check(cases.Batch(seed, DTYPES[seed % 3], 5000), threads=(1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_around_the_chunk_length(dtype):
    check(cases.Batch(11, dtype, 6, cases.border_sizes), threads=(1, 2, 3))


@pytest.mark.parametrize(("seed", "dtype"), LARGE[:4])
def test_large_cases_equal_a_stable_sort(seed, dtype):
    check(cases.Batch(seed, dtype, 1, cases.large_sizes, clean=True), threads=(1, 2, 3))


@pytest.mark.soak
@pytest.mark.parametrize(("seed", "dtype"), LARGE)
def test_200_large_cases_equal_a_stable_sort(seed, dtype):
    check(cases.Batch(seed, dtype, 1, cases.large_sizes), threads=(1, 2))


def test_small_cases_cover_every_kind_of_input():
    """The generator is only worth something while it draws what the suite claims to cover."""
    batch = cases.Batch(0, "float32", 1000)
    assert {(s > 0) - (s < 0) for s in batch.status.tolist()} == {-1, 0, 1}
    assert {b is None for b in batch.brackets} == {True, False}
    clean = batch.status == 0
    forced = [
        (b, t) for b, t, c in zip(batch.brackets, batch.threshold, clean, strict=True) if b and c
    ]
    assert any(hi < t for (_, hi), t in forced)
    assert any(lo > t for (lo, _), t in forced)
    assert any(lo == hi == t for (lo, hi), t in forced)
    assert any(lo < t < hi for (lo, hi), t in forced)
    minus_zero, subnormal = batch.bits == 0x80000000, (batch.keys > 0) & (batch.keys < 0x800000)
    assert (minus_zero & batch.alive).any()
    assert (subnormal & batch.alive).any()
    ties = np.unique(batch.case[batch.alive] << 32 | batch.keys[batch.alive])
    assert ties.size < 0.9 * batch.alive.sum()


def test_a_single_wrong_bit_is_reported():
    batch = cases.Batch(5, "float32", 50, clean=True)
    got = sweep.run(batch, 1)
    sweep.verify(batch, got)
    got.mask_out[3] ^= 1
    with pytest.raises(AssertionError, match="mask_out differs in 1 places"):
        sweep.verify(batch, got)


def test_a_swapped_tie_and_a_lost_ulp_are_reported():
    batch = cases.Batch(6, "float32", 50, clean=True)
    got = sweep.run(batch, 1)
    tie = batch.alive & (batch.keys == batch.threshold[batch.case])
    split = np.intersect1d(batch.case[tie & batch.kept], batch.case[tie & ~batch.kept])
    case = int(split[0])
    tied = np.flatnonzero(tie & (batch.case == case))
    kept = batch.kept.copy()
    kept[tied] = kept[tied[::-1]]
    swapped = sweep.run(batch, 1)
    swapped.mask_out[:] = batch.arena(kept)
    with pytest.raises(AssertionError, match=f"mask_out differs.*case {case}"):
        sweep.verify(batch, swapped)
    column = np.flatnonzero(got.before[0])[0]
    got.before[0, column] = np.nextafter(got.before[0, column], np.inf)
    with pytest.raises(AssertionError, match="sums_before against block_l1"):
        sweep.verify(batch, got)


def sweep_in_process(isa, threads):
    root = Path(impcore.__file__).parent.parent
    env = {**os.environ, "IMPCORE_ISA": isa, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-m", "ops.sweep", str(threads)],
        cwd=Path(__file__).parent.parent,
        env=env,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def portable_digest():
    done = sweep_in_process("portable", 1)
    assert done.returncode == 0, done.stderr
    name, digest = done.stdout.split()
    assert name == "portable"
    return digest


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bits(isa, portable_digest):
    done = sweep_in_process(isa, 2)
    if "is not supported by this CPU" in done.stderr:
        pytest.skip(f"this CPU has no {isa}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, portable_digest]


def test_an_unknown_instruction_set_is_an_error():
    done = sweep_in_process("sse9", 1)
    assert done.returncode != 0
    assert "IMPCORE_ISA=sse9 is unknown; known are avx512, avx2 and portable" in done.stderr


@st.composite
def tiny_selections(draw):
    """A few tensors over a small alphabet of bit patterns: shrinks to the smallest failing case."""
    dtype = draw(st.sampled_from(tensors.DTYPES))
    top, sign = (0x7F800000, 0x80000000) if dtype == torch.float32 else (0x7C00, 0x8000)
    some = st.sampled_from([0, 1, 2, top - 1, top // 2, sign, sign + 1, sign + top - 1])
    sizes = draw(st.lists(st.sampled_from([0, 1, 2, 3, 31, 32, 33, 70]), max_size=4))
    bits = [draw(st.lists(some, min_size=n, max_size=n)) for n in sizes]
    masks = [draw(st.lists(st.booleans(), min_size=n, max_size=n)) for n in sizes]
    k = draw(st.integers(0, sum(map(sum, masks))))
    ends = draw(st.none() | st.tuples(*[st.integers(0, 2**31 - 1)] * 2))
    return dtype, bits, masks, k, None if ends is None else tuple(sorted(ends))


@settings(max_examples=200)
@given(tiny_selections())
def test_tiny_cases_equal_sorting_in_plain_python(case):
    dtype, bits, masks, k, bracket = case
    wide = np.uint32 if dtype == torch.float32 else np.uint16
    raw = [np.array(row, dtype=wide) for row in bits]
    weights = [
        torch.from_numpy(r.view(wide(0).dtype.str.replace("u", "i"))).view(dtype) for r in raw
    ]
    plan = ops.Plan.make([len(row) for row in bits])
    arena = tensors.pack([np.array(m, dtype=bool) for m in masks])
    sign = 1 << (8 * wide(0).itemsize - 1)
    kept = tensors.sort_selects([[b & (sign - 1) for b in row] for row in bits], masks, k)
    wanted = [np.where(keep, row, 0) for keep, row in zip(kept, raw, strict=True)]
    selection = tensors.prune(plan, weights, arena, k, bracket=bracket)
    assert int(selection.status) == 0
    assert [m.tolist() for m in tensors.unpack(plan, arena)] == kept
    assert all(np.array_equal(tensors.storage(w), x) for w, x in zip(weights, wanted, strict=True))
