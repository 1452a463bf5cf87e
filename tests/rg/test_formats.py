"""How numbers are set."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.rg import formats


@given(st.floats(1e-11, 10))
def test_decimals_show_two_digits_of_the_sem(sem):
    places = formats.decimals(sem)
    assert 3 <= places <= 12
    assert sem >= 9.4 * 10.0**-places
    assert formats.decimals(1e-16) == formats.decimals(0.0) == 3


@given(st.floats(-5, 5), st.integers(0, 6))
def test_signed_numbers_read_back_and_zero_has_no_sign(value, places):
    shown = formats.signed(value, places)
    assert float(shown.replace("−", "-")) == round(value, places)
    assert (shown[0] in "+−") == (round(value, places) != 0)


@given(st.floats(-1, 1), st.floats(0, 1))
def test_an_interval_beside_zero_is_not_shown_as_touching_it(low, width):
    high = low + width
    first, last = (
        float(part.replace("−", "-")) for part in formats.interval(low, high, 3).split(" … ")
    )
    for shown, value in ((first, low), (last, high)):
        assert shown == pytest.approx(value, abs=5.1e-4)
        assert (shown == 0) == (abs(value) <= 5e-13)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (1e-9, 3e-9, "+0.000000001 … +0.000000003"),
        (-2e-7, 0.0, "−0.0000002 … 0.0000000"),
        (0.2, 0.2 + 4e-8, "+0.20000000 … +0.20000004"),
        (0.2, 0.2 + 1e-16, "+0.200 … +0.200"),
        (0.0, 0.0, "0.000 … 0.000"),
    ],
)
def test_a_narrow_interval_is_told_from_a_point(low, high, shown):
    assert formats.interval(low, high) == shown


def test_a_narrow_span_is_told_from_a_point():
    assert formats.span(5, 5.00004) == "5 … 5.00004"
    assert formats.span(1e-9, 1e-9) == "1e−09 … 1e−09"
    assert formats.span(0.5, math.inf) == "0.5 … ∞"


def test_undefined_numbers_are_dashes():
    assert formats.interval(math.nan, math.nan, 3) == "–"
    assert formats.plus_minus(math.nan, 3) == ""


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(1, "100.00 %"), (0.16777, "16.78 %"), (0.00123, "0.12 %"), (0, "0.00 %")],
)
def test_percent(fraction, shown):
    assert formats.percent(fraction) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (59.4, "59.4 s"),
        (59.7, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_duration(seconds, shown):
    assert formats.duration(seconds) == shown
