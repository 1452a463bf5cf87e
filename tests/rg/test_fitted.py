"""What a fit says of itself, from numbers that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impcore.rg.fitted import NAMES, Fit
from impcore.rg.scaling import Parameters, curve

D = np.array([1.0, 0.5, 0.25])
RESIDUALS = np.array([0.1, -0.1, 0.0])


def made(**changes):
    one = Parameters(0.06, 0.5, -0.6, 0.3)
    fields = {
        "parameters": one,
        "level": 0.95,
        "intervals": dict.fromkeys(NAMES, (0.01, 2.0)),
        "free": NAMES[1:],
        "at_bound": ("p",),
        "deviation": "relative",
        "density": D,
        "error": curve(D, 0.06, 0.5, -0.6, 0.3) / (1 + RESIDUALS),
        "residuals": RESIDUALS,
        "dof": 2,
        "agreeing": (4, 9),
    }
    return Fit(**fields | changes)


def test_its_curve_and_the_mirrored_one_are_the_same():
    fit = made()
    assert fit.gamma == 0.6
    np.testing.assert_allclose(fit.predict(D), fit.error * (1 + RESIDUALS))
    other = fit.mirror
    assert other.gamma == 0.6
    mirrored = curve(D, other.eps_np, other.eps_dagger, other.gamma, other.p)
    np.testing.assert_allclose(mirrored, fit.predict(D))


def test_how_good_it_is():
    assert made().scatter == pytest.approx(math.sqrt(0.02 / 2))
    logs = np.log(made().error)
    left = math.log(1.1) ** 2 + math.log(0.9) ** 2
    assert made().r_squared == pytest.approx(1 - left / ((logs - logs.mean()) ** 2).sum())
    assert math.isnan(made(error=np.full(3, 0.1)).r_squared)


def test_the_table_says_what_was_fixed_and_what_a_bound_holds():
    table = made().table()
    assert [row[0] for row in table.rows] == ["ε_np", "ε†", "γ", "p"]
    assert [row[2] == "fixed" for row in table.rows] == [True, False, False, False]
    assert [row[4] for row in table.rows] == ["", "", "", "at its bound"]
    assert [row[1][0] for row in table.rows] == ["0", "0", "−", "0"]
    assert table.rows[2][2] == "|γ|: 0.01 … 2"  # what is shown beside it is negative
    assert "4 of 9 starts agree" in table.title
