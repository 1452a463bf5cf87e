"""The distributions are SciPy's, and say nothing without a degree of freedom."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from impcore.rg import stats


@given(st.floats(0.01, 0.999), st.integers(1, 100), st.floats(0, 20))
def test_they_are_those_of_scipy_stats(level, dof, value):
    assert stats.t_quantile(level, dof) == pytest.approx(scipy_stats.t.ppf(0.5 + level / 2, dof))
    assert float(stats.t_test(-value, dof)) == pytest.approx(2 * scipy_stats.t.sf(value, dof))
    assert float(stats.chi2_test(value, dof)) == pytest.approx(scipy_stats.chi2.sf(value, dof))
    assert stats.joint_t_test([value], dof) == pytest.approx(2 * scipy_stats.t.sf(value, dof))


def test_limits():
    assert stats.t_quantile(0.95, math.inf) == pytest.approx(1.959964)
    expected = scipy_stats.chi2.sf(6, 3)
    assert stats.joint_t_test([1, -2, 1], math.inf) == pytest.approx(expected)
    for answer in (
        stats.t_quantile(0.95, 0),
        stats.joint_t_test([1], 0),
        stats.joint_t_test([math.nan, 1], 1),
    ):
        assert math.isnan(answer)
    assert 0 <= stats.joint_t_test([1e300, 0, 0], 30) < 1e-100  # where a single p is 0
    assert np.isnan(stats.t_test([1, 2], 0)).all()
    assert np.isnan(stats.chi2_test([1, 2], 0)).all()


def test_relevance_is_the_side_of_zero_on_which_the_interval_lies():
    low = np.array([0.1, -0.2, -0.1, 0.0, math.nan])
    high = np.array([0.2, -0.1, 0.1, 0.1, math.nan])
    expected = ["relevant", "irrelevant", "marginal", "marginal", "marginal"]
    assert stats.relevance(low, high) == expected
