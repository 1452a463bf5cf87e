"""Intervals over seeds: a seed is one draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from impcore import rg

DENSITY = 0.8 ** np.arange(10)


def flow(rng, sigma, walk=0.05, between=0.0):
    steps = np.log(1.25) * (sigma + rng.normal(0, between, len(sigma)))
    noise = rng.normal(0, walk * np.log(1.25), (9, len(sigma)))
    return np.exp(np.vstack([np.zeros(len(sigma)), np.cumsum(steps + noise, axis=0)]))


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_mean_and_interval_are_scipys_over_the_seeds(seed, count):
    rng = np.random.default_rng(seed)
    runs = [rg.eigen(flow(rng, np.array([0.2, -0.1])), DENSITY) for _ in range(count)]
    result = rg.over_seeds(runs)
    each = np.array([run.sigma_mean for run in runs])
    low, high = stats.t.interval(0.95, count - 1, each.mean(0), stats.sem(each))
    np.testing.assert_allclose(result.sigma_mean, each.mean(axis=0))
    np.testing.assert_allclose(result.sigma_low, low)
    np.testing.assert_allclose(result.sigma_high, high)
    np.testing.assert_array_equal(result.sigma, each)


def test_the_interval_covers_where_seeds_differ_more_than_rounds_tell():
    rng = np.random.default_rng(0)
    truth, held, single = np.full(400, 0.1), 0, 0
    for _ in range(12):
        runs = [rg.eigen(flow(rng, truth, walk=0.02, between=0.1), DENSITY) for _ in range(4)]
        result = rg.over_seeds(runs)
        held += np.sum((result.sigma_low <= 0.1) & (result.sigma_high >= 0.1))
        single += np.sum((runs[0].sigma_low <= 0.1) & (runs[0].sigma_high >= 0.1))
    assert 0.93 <= held / 4800 <= 0.97
    assert single / 4800 < 0.3  # the rounds of one seed know nothing of the others
    assert (result.within < 0.5 * result.sigma_sem * 2).mean() > 0.9


def test_a_single_seed_decides_nothing():
    result = rg.over_seeds([rg.eigen(flow(np.random.default_rng(1), np.array([0.9])), DENSITY)])
    assert np.isnan(result.sigma_sem).all()
    assert result.relevance == ["marginal"]
    assert "over 1 seed\n" in str(result)


def test_the_error_over_rounds_has_its_own_digits():
    rng = np.random.default_rng(4)
    one = flow(rng, np.array([0.2]))
    found = rg.over_seeds([rg.eigen(one**power, DENSITY) for power in (1, 1.00001)])
    assert found.sigma_sem[0] < 1e-5 < 1e-2 < found.within[0]
    assert found.table().rows[0][-1] == f"{found.within[0]:.3f}"


def test_seeds_of_different_experiments_are_refused():
    rng = np.random.default_rng(2)
    one = rg.eigen(flow(rng, np.zeros(2)), DENSITY)
    with pytest.raises(ValueError, match=r"seed 0 has .* and seed 1 has"):
        rg.over_seeds([one, rg.eigen(flow(rng, np.zeros(3)), DENSITY)])
    with pytest.raises(ValueError, match=r"by mean_log and seed 1 .* by endpoints"):
        rg.over_seeds([one, rg.eigen(flow(rng, np.zeros(2)), DENSITY, estimator="endpoints")])
    with pytest.raises(ValueError, match="at least one seed"):
        rg.over_seeds([])


def test_blocks_in_another_order_are_matched_by_name():
    rng = np.random.default_rng(3)
    flows = [flow(rng, np.array([0.2, -0.1])) for _ in range(3)]
    straight = rg.over_seeds([rg.eigen(one, DENSITY, names=["a", "b"]) for one in flows])
    first = rg.eigen(flows[0], DENSITY, names=["a", "b"])
    rest = [rg.eigen(one[:, ::-1], DENSITY, names=["b", "a"]) for one in flows[1:]]
    assert str(rg.over_seeds([first, *rest])) == str(straight)


def test_what_is_no_seed_is_refused_by_its_kind():
    one = rg.eigen(flow(np.random.default_rng(2), np.zeros(2)), DENSITY)
    with pytest.raises(TypeError, match=r"runs\[1\] must be of type Eigen, .*, not str"):
        rg.over_seeds([one, "runs/a"])
    for wrong in ("runs/a", one, None):
        found = f"^runs must be a list, each of type Eigen, .*, not {type(wrong).__name__}$"
        with pytest.raises(TypeError, match=found):
            rg.over_seeds(wrong)
