from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.imp.eta import LEAST_SECONDS, Eta


def after(durations: list[float]) -> tuple[Eta, float]:
    eta, now = Eta(), 7.0
    for duration in durations:
        now += duration
        eta.step(now)
    return eta, now


@given(st.floats(0, 1000), st.floats(0.001, 10), st.integers(1, 500))
def test_the_first_step_counts_for_nothing(cold: float, warm: float, steps: int) -> None:
    eta, now = after([cold] + [warm] * steps)
    found = eta.seconds(now, 100)
    if warm * steps < LEAST_SECONDS * (1 - 1e-6):
        assert found is None
    elif warm * steps > LEAST_SECONDS * (1 + 1e-6):
        assert found == pytest.approx(100 * warm, rel=1e-3)


def test_nothing_is_said_before_a_step_or_after_the_first() -> None:
    assert Eta().seconds(1e9, 10) is None
    eta, now = after([2.0])
    assert eta.seconds(now + 1e9, 10) is None


@given(st.floats(0.05, 5), st.floats(0.05, 5), st.floats(10, 1000))
def test_an_older_pace_is_forgotten(before: float, since: float, seconds: float) -> None:
    older, newer = 1 + int(seconds / before), 1 + int(4 * (seconds + LEAST_SECONDS) / since)
    eta, now = after([1.0] + [before] * older + [since] * (newer + 20))
    assert eta.seconds(now, 100) == pytest.approx(100 * since, rel=0.01)


@given(st.lists(st.floats(0.01, 2), min_size=400, max_size=600))
def test_the_estimate_is_the_mean_of_the_later_half_or_more(durations: list[float]) -> None:
    eta, now = after(durations)
    warm = durations[1:]
    if sum(warm) <= 4 * LEAST_SECONDS:
        return
    means, passed = [], 0.0
    for number, duration in enumerate(reversed(warm), start=1):
        passed += duration
        if passed >= 0.45 * sum(warm):
            means.append(passed / number)
    found = eta.seconds(now, 1)
    assert found is not None
    assert min(means) * 0.999 <= found <= max(means) * 1.001


def test_a_pause_between_steps_is_part_of_the_pace() -> None:
    eta, now = after(([0.1] * 9 + [1.1]) * 100)
    assert eta.seconds(now, 10) == pytest.approx(2.0, rel=0.05)
