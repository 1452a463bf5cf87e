"""The identities that λ, σ and c obey, on synthetic flows whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from impcore import rg

GEOMETRIC = 0.8 ** np.arange(12)
LINEAR = np.arange(10, 0, -1) / 10  # 10 % of the original weights a round

seeds = st.integers(0, 2**32 - 1)
states = st.integers(2, 20)
widths = st.integers(1, 8)


def falling_counts(rng: np.random.Generator, length: int) -> np.ndarray:
    return np.cumsum(rng.integers(1, 1000, length))[::-1].copy()


def random_shares(rng: np.random.Generator, length: int, blocks: int) -> np.ndarray:
    raw = np.exp(rng.normal(0, 2, (length, blocks)))
    return raw / raw.sum(axis=1, keepdims=True)


@given(seeds, states, widths)
def test_shares_that_partition_close_to_one_in_every_round(seed, length, blocks):
    rng = np.random.default_rng(seed)
    M = random_shares(rng, length, blocks)
    result = rg.eigen(M, falling_counts(rng, length))
    np.testing.assert_allclose((M[:-1] * result.lam).sum(axis=1), 1, rtol=0, atol=1e-14 * blocks)


@given(seeds, st.lists(st.floats(-3, 1), min_size=1, max_size=6), st.sampled_from(["geo", "lin"]))
def test_a_power_law_in_density_gives_its_exponent_back(seed, exponents, schedule):
    density = GEOMETRIC if schedule == "geo" else LINEAR
    scale = np.exp(np.random.default_rng(seed).normal(0, 3, len(exponents)))
    M = scale * density[:, None] ** -np.array(exponents)
    result = rg.eigen(M, density)
    np.testing.assert_allclose(result.sigma, np.tile(exponents, (len(density) - 1, 1)), atol=1e-12)
    np.testing.assert_allclose(result.sigma_mean, exponents, atol=1e-12)
    np.testing.assert_allclose(result.sigma_endpoint, exponents, atol=1e-12)


@given(seeds, states, widths)
def test_with_constant_c_the_mean_telescopes_to_the_endpoints(seed, length, blocks):
    M = random_shares(np.random.default_rng(seed), length, blocks)
    result = rg.eigen(M, 0.7 ** np.arange(length))
    expected = np.log(M[-1] / M[0]) / math.log(1 / 0.7) / (length - 1)
    np.testing.assert_allclose(result.sigma_mean, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(result.sigma_endpoint, expected, rtol=1e-9, atol=1e-11)


def nested_flow(seed: int, length: int, blocks: int) -> tuple[np.ndarray, ...]:
    """M, P and counts of random weights under random nested masks, block by block."""
    rng = np.random.default_rng(seed)
    block = rng.integers(0, blocks, 600)
    block[:blocks] = np.arange(blocks)
    alive = np.ones(600, dtype=bool)
    magnitudes, numbers = [], []
    for _ in range(length):
        weights = np.abs(rng.normal(0, 1, 600)) + 1e-3
        magnitudes.append(np.bincount(block, alive * weights, minlength=blocks))
        numbers.append(np.bincount(block, alive, minlength=blocks))
        removable = np.flatnonzero(alive & (np.arange(600) >= blocks))
        gone = rng.choice(removable, rng.integers(1, len(removable) // 2 + 2), replace=False)
        alive[gone] = False
    return np.array(magnitudes), np.array(numbers)


@given(seeds, st.integers(2, 5), st.integers(1, 4))
def test_nested_masks_bound_the_exponent_of_p_by_one(seed, length, blocks):
    _, numbers = nested_flow(seed, length, blocks)
    remaining = numbers.sum(axis=1)
    result = rg.eigen(numbers / remaining[:, None], remaining)
    assert (result.lam <= result.c[:, None] * (1 + 1e-14)).all()
    assert (result.sigma <= 1 + 1e-9).all()


@given(seeds, st.integers(2, 5), st.integers(1, 4))
def test_sigma_of_m_is_that_of_p_plus_the_change_in_relative_mean_weight(seed, length, blocks):
    magnitudes, numbers = nested_flow(seed, length, blocks)
    remaining, whole = numbers.sum(axis=1), magnitudes.sum(axis=1)
    relative = (magnitudes / numbers) / (whole / remaining)[:, None]
    of_m = rg.eigen(magnitudes / whole[:, None], remaining)
    of_p = rg.eigen(numbers / remaining[:, None], remaining)
    change = np.log(relative[1:] / relative[:-1]) / np.log(of_m.c)[:, None]
    np.testing.assert_allclose(of_m.sigma, of_p.sigma + change, rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(3, 20), st.integers(2, 8), st.floats(0.5, 0.999))
def test_averages_and_interval_equal_scipy(seed, length, blocks, level):
    rng = np.random.default_rng(seed)
    result = rg.eigen(random_shares(rng, length, blocks), falling_counts(rng, length), level=level)
    np.testing.assert_allclose(result.sigma_sem, stats.sem(result.sigma), rtol=1e-12)
    np.testing.assert_allclose(result.lam_sem, stats.sem(result.lam), rtol=1e-12)
    low, high = stats.t.interval(level, length - 2, result.sigma.mean(0), stats.sem(result.sigma))
    np.testing.assert_allclose(result.sigma_low, low, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.sigma_high, high, rtol=1e-9, atol=1e-12)
    expected = [
        "relevant" if a > 0 else "irrelevant" if b < 0 else "marginal"
        for a, b in zip(result.sigma_low, result.sigma_high, strict=True)
    ]
    assert result.relevance == expected


@settings(max_examples=30)
@given(seeds, st.floats(0.1, 0.9))
def test_relevance_is_the_verdict_of_a_t_test(seed, level):
    rng = np.random.default_rng(seed)
    M = np.exp(np.cumsum(rng.normal([0.1, 0.0, -0.1], 0.1, (9, 3)), axis=0))
    result = rg.eigen(M, GEOMETRIC[:9], level=level)
    p = stats.ttest_1samp(result.sigma, 0).pvalue
    verdicts = [verdict != "marginal" for verdict in result.relevance]
    assert verdicts == (p < 1 - level).tolist()


def test_c_follows_appendix_a_for_both_schedules():
    ones = np.ones((10, 1))
    np.testing.assert_allclose(rg.eigen(ones, 0.8 ** np.arange(10)).c, 1.25)
    linear = rg.eigen(ones, np.arange(10, 0, -1)).c
    np.testing.assert_allclose(linear, [1 / (1 - 1 / (10 - n)) for n in range(9)])


def test_a_fixed_point_is_marginal_and_exactly_zero():
    result = rg.eigen(np.full((5, 2), 0.5), [100, 80, 64, 51, 41])
    assert (result.sigma == 0).all()
    assert result.relevance == ["marginal", "marginal"]


def test_one_step_has_no_spread_and_decides_nothing():
    result = rg.eigen([[0.5, 0.5], [0.9, 0.1]], [10, 8])
    assert np.isnan(result.sigma_sem).all()
    assert np.isnan(result.sigma_low).all()
    assert np.isnan(result.lam_sem).all()
    assert result.relevance == ["marginal", "marginal"]
    np.testing.assert_allclose(result.sigma_mean, np.log([1.8, 0.2]) / math.log(1.25))


def test_counts_beyond_float_precision_still_fall():
    large = np.array([2**62, 2**62 - 1], dtype=np.int64)
    result = rg.eigen([[1.0], [1.0 + 2**-30]], large)
    np.testing.assert_allclose(result.sigma, [[math.log1p(2**-30) * 2**62]], rtol=1e-6)


def test_results_cannot_be_changed_and_inputs_are_not_touched():
    M, remaining = np.array([[0.4, 0.6], [0.5, 0.5]]), np.array([10, 8])
    result = rg.eigen(M, remaining)
    with pytest.raises(ValueError, match="read-only"):
        result.sigma[0, 0] = 1
    M[0, 0] = remaining[0] = 1
    np.testing.assert_allclose(result.lam, [[1.25, 0.5 / 0.6]])


def test_prints_a_table_of_its_blocks():
    result = rg.eigen(GEOMETRIC[:, None] ** [-0.25, 0.5], GEOMETRIC, names=["early", "late"])
    lines = str(result).splitlines()
    assert [line.split()[0] for line in lines] == ["σ", "block", "early", "late"]
    assert "+0.250" in lines[2]
    assert "-0.500" in lines[3]
    assert lines[0] == "σ by mean_log over 11 steps"
    assert repr(result) == str(result)
    assert "<td>relevant</td>" in result._repr_html_()


GOOD = [[0.5, 0.5], [0.4, 0.6], [0.3, 0.7]]


@pytest.mark.parametrize(
    ("M", "remaining", "options", "message"),
    [
        ([[0.5, 0.5]], [3], {}, r"M must have shape .* not \[1, 2\]"),
        ([0.5, 0.5], [3, 2], {}, r"M must have shape .* not \[2\]"),
        ([[], []], [3, 2], {}, r"M must have shape .* not \[2, 0\]"),
        ([[1], [1, 2]], [3, 2], {}, "M must be an array"),
        ([["a"], ["b"]], [3, 2], {}, "M must hold real numbers"),
        ([[1j], [1j]], [3, 2], {}, "M must hold real numbers"),
        ([[True], [True]], [3, 2], {}, "M must hold real numbers"),
        ([[0.5, 0.5], [0, 1], [0, 1]], [3, 2, 1], {}, "M is 0 for block 'block0' at round 1"),
        ([[0.5], [-0.5]], [3, 2], {}, "M must be positive and finite, not -0.5 for block 'block0'"),
        ([[0.5], [math.nan]], [3, 2], {}, "not nan for block 'block0' at round 1"),
        ([[0.5], [math.inf]], [3, 2], {}, "not inf"),
        ([[1e-300], [1e300]], [3, 2], {}, "ratios between successive rounds"),
        ([[1], [2]], [3, 2], {"rounds": 2}, "rounds must be a slice or a list of states, not 2"),
        (GOOD, [3, 2], {}, r"remaining must have shape \[3\] as M has, not \[2\]"),
        (GOOD, [3, 2, 2], {}, "round 1 has 2 and round 2 has 2"),
        (GOOD, [1, 2, 3], {}, "fall strictly, but round 0 has 1 and round 1 has 2"),
        (GOOD, [3, 2, 0], {}, "remaining must be positive"),
        (GOOD, [3.0, math.nan, 1.0], {}, "remaining must be positive and finite"),
        (GOOD, [True, False, False], {}, "remaining must hold real numbers"),
        (GOOD, [3, 2, 1], {"level": 1}, "level must be a number between 0 and 1, not 1"),
        (GOOD, [3, 2, 1], {"level": math.nan}, "level must be .* nan"),
        (GOOD, [3, 2, 1], {"level": True}, "level must be .* True"),
        (GOOD, [3, 2, 1], {"level": "0.95"}, "level must be .* '0.95'"),
        (GOOD, [3, 2, 1], {"names": ["a"]}, "names must be 2 different names"),
        (GOOD, [3, 2, 1], {"names": ["a", "a"]}, "names must be 2 different names"),
    ],
)
def test_bad_arguments_are_named(M, remaining, options, message):
    with pytest.raises(ValueError, match=message):
        rg.eigen(M, remaining, **options)


def test_a_collapsed_block_is_called_by_its_name():
    with pytest.raises(ValueError, match="'stage3' at round 2: the block has collapsed"):
        rg.eigen([[1, 1], [1, 1], [2, 0]], [3, 2, 1], names=["stage1", "stage3"])
