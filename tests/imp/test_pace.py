from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from impcore.imp.pace import Pace, next_due

durations = st.lists(st.floats(0.001, 100), min_size=2, max_size=50)


@given(durations, st.floats(0.01, 1), st.floats(0, 50), st.floats(0.001, 10))
def test_what_is_done_whenever_due_keeps_to_its_share(
    costs: list[float], share: float, least: float, tick: float
) -> None:
    now, spent = 0.0, 0.0
    pace = Pace(share, least, lambda: now)
    for cost in costs[:-1]:
        while not pace.due():
            now += cost / share / 7 + tick
        pace.hold()
        now += cost
        assert not pace.due()
        pace.took(cost)
        spent += cost
    while not pace.due():
        now += tick
    assert spent <= share * now * (1 + 1e-9)


def test_it_is_due_at_first_and_not_right_after() -> None:
    now = 5.0
    pace = Pace(0.01, clock=lambda: now)
    assert pace.due()
    now += 1
    pace.took(1)
    assert not pace.due()
    now += 99.9
    assert not pace.due()
    now += 0.2
    assert pace.due()


def test_it_is_not_due_again_too_soon_to_matter() -> None:
    now = 0.0
    pace = Pace(0.01, 30.0, lambda: now)
    now += 0.2
    pace.took(0.2)
    now += 29.9
    assert not pace.due()
    now += 0.2
    assert pace.due()
    assert pace.apart(0.2) == 30
    assert pace.apart(0.5) == 50


@given(st.integers(0, 100), st.lists(st.integers(0, 40)), st.lists(st.integers(0, 200)))
def test_nothing_is_due_before_what_is_due_next(step: int, every: list[int], at: list[int]) -> None:
    end = step + 50
    found = next_due(step, every, (*at, end))
    due = [n for n in range(step + 1, end + 1) if n in at or any(e and n % e == 0 for e in every)]
    assert found == min(due, default=end)
