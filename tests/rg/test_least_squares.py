"""The profile: where an F-test rejects, and where there is nothing to reject."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from impcore.rg import exponents
from impcore.rg.least_squares import Problem, profile_interval, solve
from impcore.rg.scaling import curve

D = 0.8 ** np.arange(19)
TRUE = np.log([0.06, 0.5, 0.6, 0.3])
LOW, HIGH = np.log([0.05, 0.05, 1e-3, 1e-3]), np.log([0.07, 1.0, 50, 10])


def problem(noise=0.03, deviation="relative"):
    error = curve(D, 0.06, 0.5, -0.6, 0.3)
    error = error * (1 + noise * np.random.default_rng(2).normal(size=19))
    return Problem(D, error, deviation, LOW, HIGH)


@pytest.mark.parametrize("deviation", ["relative", "absolute"])
def test_the_solution_is_a_minimum(deviation):
    made = problem(deviation=deviation)
    best = solve(made, TRUE)
    assert best is not None
    rng = np.random.default_rng(0)
    for _ in range(50):
        near = np.clip(best.logs + rng.normal(0, 0.01, 4), LOW, HIGH)
        assert made.cost(near) >= best.cost * (1 - 1e-9)


def test_at_its_ends_the_profile_has_the_threshold_of_the_f_test():
    made = problem()
    best = solve(made, TRUE)
    ends = profile_interval(made, best.logs, 2, 15, 0.95)
    threshold = best.cost * (1 + stats.f.ppf(0.95, 1, 15) / 15)
    for end in ends:
        low, high = LOW.copy(), HIGH.copy()
        low[2] = high[2] = math.log(end)
        held = Problem(D, made.error, "relative", low, high)
        refitted = solve(held, best.logs)
        assert refitted.cost == pytest.approx(threshold, rel=0.01)
    assert ends[0] < math.exp(best.logs[2]) < ends[1]


def test_exact_data_and_fixed_parameters_have_no_spread():
    made = problem(noise=0)
    best = solve(made, TRUE)
    assert profile_interval(made, best.logs, 2, 15, 0.95) == pytest.approx((0.6, 0.6))
    low, high = LOW.copy(), HIGH.copy()
    low[0] = high[0] = math.log(0.06)
    held = Problem(D, problem().error, "relative", low, high)
    best = solve(held, TRUE)
    assert profile_interval(held, best.logs, 0, 16, 0.95) == pytest.approx((0.06, 0.06))
    assert held.free == [False, True, True, True]


def test_an_end_that_is_never_rejected_is_none():
    flat = exponents.fit(D, 0.1 * (1 + 0.03 * np.random.default_rng(1).normal(size=19)))
    assert 0.0 in flat.intervals["p"] or math.inf in flat.intervals["|γ|"]
