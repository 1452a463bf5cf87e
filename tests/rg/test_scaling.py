"""Eq. 15: its limits, its symmetry, its slopes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.rg.scaling import Parameters, curve, log_curve, log_jacobian

errors = st.floats(0.01, 0.3)
gammas = st.floats(0.05, 5) | st.floats(-5, -0.05)
scales = st.floats(0.01, 1)
D = np.geomspace(0.001, 1, 15)


def direct(d, eps_np, eps_dagger, gamma, p):
    """The first line of eq. 15 as it is printed, in complex numbers."""
    shifted = d - 1j * p * (eps_dagger / eps_np) ** (1 / gamma)
    return eps_np * np.abs(shifted / (d - 1j * p)) ** gamma


@given(errors, st.floats(1, 3), gammas, scales)
def test_it_is_the_printed_equation(eps_np, ratio, gamma, p):
    expected = direct(D, eps_np, ratio * eps_np, gamma, p)
    np.testing.assert_allclose(curve(D, eps_np, ratio * eps_np, gamma, p), expected, rtol=1e-9)


@given(errors, st.floats(1.01, 3), gammas, scales)
def test_the_mirrored_branch_is_the_same_curve_and_its_own_inverse(eps_np, ratio, gamma, p):
    one = Parameters(eps_np, ratio * eps_np, gamma, p)
    other = one.mirror
    assert other.gamma == -gamma
    np.testing.assert_allclose(
        curve(D, *(other.eps_np, other.eps_dagger, other.gamma, other.p)),
        curve(D, eps_np, ratio * eps_np, gamma, p),
        rtol=1e-9,
    )
    assert other.mirror.p == pytest.approx(p)


@given(errors, st.floats(1.01, 3), gammas)
def test_limits(eps_np, ratio, gamma):
    ends = curve([1e-60, 1e60], eps_np, ratio * eps_np, gamma, 0.1)
    np.testing.assert_allclose(ends, [ratio * eps_np, eps_np], rtol=1e-6)


def test_between_its_scales_it_is_a_power_law():
    d = np.array([1e-4, 1e-3])
    error = curve(d, 1e-12, 1.0, -2.0, 0.1)
    assert np.log(error[1] / error[0]) / np.log(10) == pytest.approx(-2, rel=1e-4)


@given(errors, st.floats(1.05, 3), st.floats(0.05, 5), scales, st.sampled_from([-1.0, 1.0]))
def test_slopes_are_those_of_differences(eps_np, ratio, gamma, p, sign):
    logs = np.log([eps_np, ratio * eps_np, gamma, p])
    found, step = log_jacobian(np.log(D), logs, sign), 1e-6
    for i in range(4):
        move = np.zeros(4)
        move[i] = step
        high, low = (log_curve(np.log(D), logs + k * move, sign) for k in (1, -1))
        np.testing.assert_allclose(found[:, i], (high - low) / (2 * step), atol=2e-6)


@given(st.floats(1e-3, 50))
def test_weak_and_strong_exponents_do_not_overflow(gamma):
    assert np.isfinite(curve(D, 0.01, 1.0, -gamma, 0.1)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((D, 0, 1, 1, 1), "eps_np must be positive, not 0"),
        ((D, 0.1, -1, 1, 1), "eps_dagger must be positive, not -1"),
        ((D, 0.1, 1, 0, 1), "gamma must be finite and not 0"),
        ((D, 0.1, 1, math.inf, 1), "gamma must be finite"),
        ((D, 0.1, 1, 1, math.nan), "p must be positive, not nan"),
        (([0.5, 0], 0.1, 1, 1, 1), "d must be positive, not 0.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        curve(*arguments)
