from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.config import Length, RewindPoint
from impcore.config.length import TrainLength


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_epochs_and_steps_are_exact(count: int, per_epoch: int) -> None:
    assert Length(f"{count}it").steps(per_epoch) == count
    assert Length(f"{count}ep").steps(per_epoch) == count * per_epoch


@given(st.integers(1, 100_000_000), st.integers(1, 10**9))
def test_percent_is_the_nearest_step_and_rational(millionths: int, total: int) -> None:
    text = f"{millionths // 10**6}.{millionths % 10**6:06d}%"
    exact = Fraction(millionths * total, 10**8)
    assert abs(Length(text).steps(1, total) - exact) <= Fraction(1, 2)
    assert Length(text).fraction_of(Length("7ep")) == Fraction(millionths, 10**8)


def test_decimals_of_an_epoch_round_halves_to_even() -> None:
    assert [Length("0.5ep").steps(n) for n in (1, 3, 5, 22)] == [0, 2, 2, 11]


def test_percent_needs_a_total() -> None:
    with pytest.raises(ValueError, match="'5%' is a percentage"):
        Length("5%").steps(100)


@given(st.text(st.sampled_from("0123456789.epit% -+einfa٣"), max_size=8))
def test_whatever_is_accepted_is_positive_bounded_and_canonical(text: str) -> None:
    try:
        length = Length(text)
    except ValueError:
        return
    assert length.unit in ("ep", "it", "%")
    assert 0 < length.value <= (100 if length.unit == "%" else 10**9)
    assert math.isclose(float(length.value), float(text.removesuffix(length.unit)))
    assert text.isascii()


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "ep", "0ep", "0.0%", "-1ep", "+1ep", " 1ep", "1 ep", "1ep\n", "1EP", "1e3it"),
        *("1.5it", "100.1%", "1000000001it", "nan%", "infep", ".5ep", "5.ep", "5%%", "٣ep"),
        *("init", "9" * 99),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be"):
        Length(text)


def test_rewind_points_have_names_for_step_0() -> None:
    assert [RewindPoint(name).steps(22, 220) for name in ("init", "pretrained")] == [0, 0]
    assert RewindPoint("init").fraction_of(Length("10ep")) is None
    assert RewindPoint("5%").steps(22, 220) == 11
    with pytest.raises(ValueError, match="or 'init', or 'pretrained'"):
        RewindPoint("0it")


@given(st.sampled_from(["init", "3it", "1.25ep", "5%"]))
def test_copies_and_pickles_stay_lengths(text: str) -> None:
    point = RewindPoint(text)
    for twin in (copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert (twin, type(twin)) == (point, RewindPoint)


def test_a_training_length_is_not_offered_percent() -> None:
    with pytest.raises(ValueError, match=r"^should be a length like '160ep' or '5000it'$"):
        TrainLength("3")
    with pytest.raises(ValueError, match=r"should be epochs .* not a percentage"):
        TrainLength("5%")
    assert TrainLength("3ep").steps(7) == 21
