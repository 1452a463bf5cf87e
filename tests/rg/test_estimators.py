"""Four estimators of σ: exact on power laws, each right about its own noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from impcore import rg

GEOMETRIC = 0.8 ** np.arange(12)
LINEAR = np.arange(10, 0, -1) / 10
seeds = st.integers(0, 2**32 - 1)
estimators = st.sampled_from(rg.ESTIMATORS)


@given(
    estimators,
    st.lists(st.floats(-3, 1), min_size=1, max_size=5),
    st.sampled_from([GEOMETRIC, LINEAR]),
    st.data(),
)
def test_each_gives_the_exponent_of_a_power_law_from_any_rounds(name, exponents, density, data):
    M = density[:, None] ** -np.array(exponents)
    rounds = sorted(
        data.draw(st.sets(st.integers(0, len(density) - 1), min_size=3, max_size=len(density)))
    )
    result = rg.eigen(M, density, estimator=name, rounds=rounds)
    np.testing.assert_allclose(result.sigma_mean, exponents, atol=1e-11)
    assert result.states == tuple(rounds)
    assert result.estimator == name
    if len(rounds) > 3:
        assert (result.straight_p > 0.99).all()  # a straight line, up to rounding


@given(seeds, estimators, st.floats(0.01, 100))
def test_scale_of_the_observable_does_not_matter(seed, name, scale):
    rng = np.random.default_rng(seed)
    M = np.exp(rng.normal(0, 1, (9, 3)))
    one = rg.eigen(M, GEOMETRIC[:9], estimator=name)
    other = rg.eigen(scale * M, GEOMETRIC[:9], estimator=name)
    np.testing.assert_allclose(one.sigma_mean, other.sigma_mean, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(one.sigma_sem, other.sigma_sem, rtol=1e-7)


@given(seeds)
def test_log_of_means_is_log_c_of_the_mean_eigenvalue_where_c_is_constant(seed):
    M = np.exp(np.random.default_rng(seed).normal(0, 0.1, (9, 3)))
    result = rg.eigen(M, GEOMETRIC[:9], estimator="log_mean")
    np.testing.assert_allclose(result.sigma_mean, np.log(result.lam_mean) / np.log(1.25))
    np.testing.assert_allclose(
        result.sigma_sem, result.lam_sem / result.lam_mean / np.log(1.25), rtol=1e-9
    )


@given(seeds, st.sampled_from([GEOMETRIC[:10], LINEAR]))
def test_endpoints_are_the_mean_of_sigma_weighted_by_log_c(seed, density):
    M = np.exp(np.random.default_rng(seed).normal(0, 0.3, (10, 2)))
    result = rg.eigen(M, density, estimator="endpoints")
    np.testing.assert_array_equal(result.sigma_mean, result.sigma_endpoint)
    expected = np.average(result.sigma, axis=0, weights=np.log(result.c))
    np.testing.assert_allclose(result.sigma_mean, expected, rtol=1e-9, atol=1e-12)


@given(seeds)
def test_regression_is_that_of_scipy(seed):
    M = np.exp(np.random.default_rng(seed).normal(0, 0.2, (10, 2)))
    result = rg.eigen(M, LINEAR, estimator="regression")
    for i in range(2):
        line = stats.linregress(-np.log(LINEAR), np.log(M[:, i]))
        np.testing.assert_allclose(result.sigma_mean[i], line.slope, rtol=1e-9)
        np.testing.assert_allclose(result.sigma_sem[i], line.stderr, rtol=1e-9)
    assert result.dof == 8


@given(seeds)
def test_weighted_regression_and_its_curvature_are_those_of_explicit_least_squares(seed):
    rng = np.random.default_rng(seed)
    M, weights = np.exp(rng.normal(0, 0.2, (10, 1))), rng.uniform(0.5, 2, 10)
    result = rg.eigen(M, LINEAR, estimator="regression", weights=weights)
    x, y, w = -np.log(LINEAR), np.log(M[:, 0]), np.diag(weights)
    line = np.stack([np.ones(10), x], axis=1)
    cov = np.linalg.inv(line.T @ w @ line)
    beta = cov @ line.T @ w @ y
    spread = weights @ (y - line @ beta) ** 2 / 8
    np.testing.assert_allclose(result.sigma_mean, beta[1], rtol=1e-8)
    np.testing.assert_allclose(result.sigma_sem, np.sqrt(spread * cov[1, 1]), rtol=1e-8)
    bent = np.stack([np.ones(10), x, x**2], axis=1)
    cov = np.linalg.inv(bent.T @ w @ bent)
    beta = cov @ bent.T @ w @ y
    t = beta[2] / np.sqrt(weights @ (y - bent @ beta) ** 2 / 7 * cov[2, 2])
    np.testing.assert_allclose(result.straight_p, 2 * stats.t.sf(abs(t), 7), rtol=1e-6)


def test_known_noise_weights_sets_the_error_and_tests_the_residuals():
    rng = np.random.default_rng(5)
    noise = np.linspace(0.01, 0.03, 10)
    straight = LINEAR[:, None] ** -0.2 * np.exp(noise[:, None] * rng.normal(size=(10, 4000)))
    result = rg.eigen(straight, LINEAR, estimator="regression", noise=noise)
    x = -np.log(LINEAR)
    mean = np.average(x, weights=noise**-2.0)
    np.testing.assert_allclose(result.sigma_sem, 1 / np.sqrt(((x - mean) ** 2 / noise**2).sum()))
    np.testing.assert_allclose(result.sigma_mean.std(), result.sigma_sem[0], rtol=0.05)
    assert stats.kstest(result.straight_p, "uniform").pvalue > 1e-3
    bent = rg.eigen(straight * np.exp(x**2)[:, None], LINEAR, estimator="regression", noise=noise)
    assert (bent.straight_p < 1e-6).all()


@pytest.mark.parametrize("name", ["mean_log", "regression"])
def test_a_bent_flow_is_no_eigenfunction(name):
    x = -np.log(GEOMETRIC)
    wiggle = 1e-3 * np.random.default_rng(1).normal(size=(12, 1))
    M = np.exp(0.3 * x + 0.1 * x**2)[:, None] * np.exp(wiggle)
    assert rg.eigen(M, GEOMETRIC, estimator=name).straight_p[0] < 1e-3


@pytest.mark.parametrize("name", rg.ESTIMATORS)
def test_two_states_leave_no_error_and_no_test(name):
    result = rg.eigen([[1.0], [1.5]], [10, 8], estimator=name)
    np.testing.assert_allclose(result.sigma_mean, np.log(1.5) / np.log(1.25))
    assert np.isnan(result.sigma_sem).all()
    assert np.isnan(result.straight_p).all()
    assert result.relevance == ["marginal"]


def test_rounds_pick_states_and_ignore_faults_elsewhere():
    M = np.array([[1.0], [2.0], [0.0], [4.0]])
    result = rg.eigen(M, [16, 8, 8, 4], rounds=[0, 1, 3])
    np.testing.assert_allclose(result.sigma[:, 0], [1, 1])
    assert result.states == (0, 1, 3)
    assert rg.eigen(M[:2], [16, 8], rounds=slice(None)).states == (0, 1)
    with pytest.raises(ValueError, match="M is 0 for block 'block0' at round 2"):
        rg.eigen(M, [16, 8, 7, 4], rounds=slice(1, None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "median"}, "estimator must be one of mean_log, .* not 'median'"),
        ({"rounds": [1]}, r"2 or more of the 5 states in rising order, not \[1\]"),
        ({"rounds": [2, 1]}, "rising order"),
        ({"rounds": [1, 1]}, "rising order"),
        ({"rounds": [0, 5]}, r"rounds must be states from 0 to 4, not \[0, 5\]"),
        ({"rounds": [-1, 2]}, "rounds must be states from 0 to 4"),
        ({"rounds": [False, True]}, "rounds must be states"),
        ({"rounds": slice(4, None)}, "2 or more"),
        ({"weights": np.ones(5)}, "weights belongs to estimator 'regression', not 'mean_log'"),
        ({"estimator": "regression", "weights": np.ones(4)}, r"weights must be one number or"),
        ({"estimator": "regression", "noise": 0}, "noise must be positive and finite, not 0"),
        ({"estimator": "regression", "noise": np.nan}, "noise must be positive"),
        ({"estimator": "regression", "noise": 1, "weights": 1}, "exclude each other"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rg.eigen(np.ones((5, 2)), [5, 4, 3, 2, 1], **options)
