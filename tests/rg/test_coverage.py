"""What a 95 % interval is worth: measured, where its noise model holds and where it does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impcore import rg

GEOMETRIC = 0.8 ** np.arange(19)  # 18 steps, as in [R] Table 2
LINEAR = np.arange(10, 0, -1)  # 9 steps, as in [R] Table 3
SHORT = 0.8 ** np.arange(5)


@pytest.mark.parametrize("remaining", [GEOMETRIC, LINEAR, SHORT], ids=["19", "linear", "short"])
@pytest.mark.parametrize(
    ("estimator", "noise"),
    [
        ("mean_log", "walk"),
        ("mean_log", "density walk"),
        ("log_mean", "walk"),
        ("log_mean", "density walk"),
        ("endpoints", "density walk"),
        ("regression", "observation"),
    ],
)
def test_under_its_own_noise_an_interval_of_95_percent_covers_93_to_97(estimator, noise, remaining):
    found = rg.coverage(estimator, noise, remaining=remaining, replicates=8000)
    assert found.error < 0.003
    assert 0.93 <= found.covered <= 0.97
    assert found.rejected <= 0.07  # the test of the line keeps its level


def test_under_observation_noise_the_steps_make_the_interval_too_wide():
    for estimator in ("mean_log", "log_mean", "endpoints"):
        found = rg.coverage(estimator, "observation", remaining=GEOMETRIC, replicates=4000)
        assert found.covered > 0.995


def test_under_a_walk_the_regression_is_far_too_sure():
    long = rg.coverage("regression", "walk", remaining=GEOMETRIC, replicates=4000)
    short = rg.coverage("regression", "walk", remaining=SHORT, replicates=4000)
    assert 0.25 < long.covered < 0.36
    assert 0.65 < short.covered < 0.78
    assert long.rejected > 0.4  # and takes the walk's bends for curvature


def test_endpoints_fall_short_where_late_steps_are_long_and_noisy():
    assert rg.coverage("endpoints", "walk", remaining=LINEAR).covered < 0.93


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_other_levels_are_kept_too(level):
    found = rg.coverage(remaining=GEOMETRIC, level=level, replicates=8000)
    assert abs(found.covered - level) < 4 * found.error


def test_the_same_seed_gives_the_same_number_and_prints_it():
    first, second = (rg.coverage(remaining=SHORT, replicates=500, seed=4) for _ in range(2))
    assert first == second
    assert first != rg.coverage(remaining=SHORT, replicates=500, seed=5)
    assert "mean_log" in str(first)
    numbers = {"replicates": np.int64(500), "level": np.float32(0.75), "sigma": np.int32(1)}
    same = rg.coverage(remaining=SHORT, replicates=500, level=0.75, sigma=1)
    assert rg.coverage(remaining=SHORT, **numbers) == same


@pytest.mark.parametrize("estimator", ["mean_log", "regression"])
def test_what_cannot_be_tested_is_not_counted_as_passed(estimator):
    found = rg.coverage(estimator, remaining=[25, 20, 16], replicates=50)
    assert math.isnan(found.rejected)
    assert str(found).rstrip().endswith("–")
    found = rg.coverage(estimator, remaining=[125, 100, 80, 64], replicates=50)
    assert found.rejected >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "pink"}, "noise must be one of walk, density walk, observation, not 'pink'"),
        ({"remaining": [5]}, r"remaining must have shape \[N >= 3\]"),
        ({"remaining": [5, 4]}, r"remaining must have shape \[N >= 3\], not \[2\]"),
        ({"remaining": [5, 6, 7]}, "fall strictly"),
        ({"sigma": float("nan")}, "sigma must be a finite number, not nan"),
        ({"spread": -1}, "spread must be a positive number, not -1"),
        ({"replicates": 0}, "replicates must be an integer of at least 1, not 0"),
        ({"remaining": [5, 3, 0]}, "remaining must be positive and finite"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rg.coverage(**({"remaining": SHORT} | options))
