"""Runs analysed whole: closure, collapsed blocks, and runs that have no σ."""

from __future__ import annotations

import numpy as np
import pytest

from impcore import rg

from .conftest import geometric_counts


def shares(*rows):
    return np.array(rows, dtype=np.float64)


def test_both_observables_are_those_of_eigen_and_close(make_run):
    run = rg.load(make_run(9))
    analyses = rg.analyse(run)
    assert list(analyses) == ["M", "P"]
    for name, values in (("M", run.M), ("P", run.P)):
        direct = rg.eigen(values, run.remaining, names=run.names)
        np.testing.assert_array_equal(analyses[name].sigma, direct.sigma)
        assert analyses[name].eigen.relevance == direct.relevance
        np.testing.assert_allclose(analyses[name].closure, 1, rtol=0, atol=1e-14)
        assert not analyses[name].collapsed


def test_a_collapsed_block_is_left_out_of_the_averages_and_named(make_run):
    M = shares([0.5, 0.3, 0.2], [0.6, 0.4, 0.0], [0.7, 0.3, 0.0])
    path = make_run(3, names=("a", "b", "c"), M=M, P=M)
    analysis = rg.analyse(rg.load(path))["M"]
    assert analysis.collapsed == {"c": 1}
    assert analysis.eigen.names == ("a", "b")
    assert analysis.index("c") is None
    np.testing.assert_array_equal(analysis.lam[:, 2], [0, np.nan])
    np.testing.assert_array_equal(analysis.sigma[:, 2], [-np.inf, np.nan])
    np.testing.assert_allclose(analysis.closure, 1)


@pytest.mark.parametrize(
    ("counts", "M", "reason"),
    [
        ([10], [[0.5, 0.5]], "The run has 1 trained state;"),
        ([10, 10], [[0.5, 0.5]] * 2, "Round 0 and round 1 have 10 and 10 remaining weights"),
        ([10, 0], [[0.5, 0.5]] * 2, "No weight remains"),
        ([10, 5], [[1, 0], [0, 1]], "Every block collapses"),
        ([10, 5], [[1 - 1e-320, 1e-320], [0.5, 0.5]], "ratios between successive rounds"),
    ],
)
def test_a_run_without_sigma_says_why(make_run, counts, M, reason):
    path = make_run(
        names=("a", "b"), counts=np.array(counts, dtype=np.int64), M=shares(*M), P=shares(*M)
    )
    analysis = rg.analyse(rg.load(path))["M"]
    assert analysis.eigen is None
    assert reason in analysis.reason
    assert analysis.lam.shape == (len(counts) - 1, 2)


def test_no_state_at_all_is_no_error(make_run):
    empty = np.empty((0, 2))
    path = make_run(0, names=("a", "b"), M=empty, P=empty, counts=geometric_counts(1)[:0])
    assert "0 trained states" in rg.analyse(rg.load(path))["P"].reason


def test_observables_of_the_user_are_analysed_with_the_others(make_run):
    run = rg.load(make_run(9))
    squares = run.density[:, None] ** -np.array([0.5, 0.2, 0.0, -0.3])
    analyses = rg.analyse(run, observables={"L2": squares})
    assert list(analyses) == ["M", "P", "L2"]
    np.testing.assert_allclose(analyses["L2"].eigen.sigma_mean, [0.5, 0.2, 0, -0.3], atol=1e-12)
    for wrong, message in (
        (squares[:5], r"L2 must have shape \[9, 4\]"),
        (-squares, "L2 must be finite and not negative"),
        (squares > 0, "L2 must hold real numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            rg.analyse(run, observables={"L2": wrong})


def test_estimator_and_rounds_are_those_of_eigen(make_run):
    run = rg.load(make_run(9))
    found = rg.analyse(run, estimator="regression", rounds=slice(2, 8))["P"]
    direct = rg.eigen(run.P, run.remaining, estimator="regression", rounds=range(2, 8))
    np.testing.assert_array_equal(found.eigen.sigma_mean, direct.sigma_mean)
    assert found.states == (2, 3, 4, 5, 6, 7)
    np.testing.assert_array_equal(found.values, run.P[2:8])
    np.testing.assert_allclose(found.closure, 1)
    with pytest.raises(ValueError, match="estimator must be one of"):
        rg.analyse(run, estimator="mode")


@pytest.mark.parametrize("given", ["runs/a", ["runs/a"], None, 3])
def test_what_is_no_run_is_refused_by_its_kind(given):
    found = rf"^run must be of type Run, as rg.load\(path\) returns, not {type(given).__name__}$"
    with pytest.raises(TypeError, match=found):
        rg.analyse(given)


def test_a_collapse_outside_the_rounds_in_use_does_not_matter(make_run):
    M = shares([0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.6, 0.4, 0.0], [0.7, 0.3, 0.0])
    run = rg.load(make_run(4, names=("a", "b", "c"), M=M, P=M))
    assert not rg.analyse(run, rounds=[0, 1])["M"].collapsed
    assert rg.analyse(run, rounds=[1, 3])["M"].collapsed == {"c": 3}


def test_steps_keep_their_eigenvalues_when_every_block_collapses(make_run):
    values = shares([1, 2], [0.5, 1], [0, 0])
    run = rg.load(make_run(3, names=("a", "b"), M=np.full((3, 2), 0.5), P=np.full((3, 2), 0.5)))
    found = rg.analyse(run, observables={"x": values})["x"]
    assert found.eigen is None
    assert found.collapsed == {"a": 2, "b": 2}
    np.testing.assert_array_equal(found.lam, [[0.5, 0.5], [0, 0]])
    c = run.remaining[0] / run.remaining[1]
    np.testing.assert_allclose(found.sigma, [[-np.log(2) / np.log(c)] * 2, [-np.inf] * 2])


def test_lambda_that_float64_cannot_hold_is_not_a_number(make_run):
    M = shares([1 - 1e-320, 1e-320], [0.5, 0.5])
    path = make_run(names=("a", "b"), counts=np.array([10, 5]), M=M, P=M)
    np.testing.assert_array_equal(rg.analyse(rg.load(path))["M"].lam, [[0.5, np.nan]])


def test_a_block_that_comes_back_is_named_and_missing_from_the_closure(make_run):
    M = shares([0.5, 0.3, 0.2], [0.6, 0.4, 0.0], [0.5, 0.3, 0.2])
    found = rg.analyse(rg.load(make_run(3, names=("a", "b", "c"), M=M, P=M)))["M"]
    assert found.collapsed == {"c": 1}
    assert found.returned == {"c": 2}
    np.testing.assert_allclose(found.closure, [1, 0.8])
    np.testing.assert_array_equal(found.lam[:, 2], [0, np.nan])
