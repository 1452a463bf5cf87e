from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from impcore.errors import ConfigError
from impcore.imp import schedule


@given(st.integers(1, 10**12), st.integers(0, 40), st.floats(0.001, 0.999))
def test_geometric_is_pythons_round_of_what_remains_round_by_round(
    total: int, rounds: int, rate: float
) -> None:
    wanted, left = [total], total
    for _ in range(rounds):
        left = left - round(rate * left)
        wanted.append(left)
    if any(after >= before or after < 1 for before, after in pairwise(wanted)):
        with pytest.raises(ConfigError, match="prune"):
            schedule.remaining(total, "geometric", rounds, rate)
    else:
        assert schedule.remaining(total, "geometric", rounds, rate) == wanted


@given(st.integers(1000, 10**12), st.integers(2, 20), st.data())
def test_linear_prunes_the_same_share_of_the_original_every_round(
    total: int, parts: int, data: st.DataObject
) -> None:
    rounds = data.draw(st.integers(0, parts - 1))
    counts = schedule.remaining(total, "linear", rounds, 1 / parts)
    for n, count in enumerate(counts):
        assert abs(count - total * (1 - Fraction(n, parts))) <= Fraction(1, 2) + Fraction(1, 1000)


def test_linear_gives_berts_published_counts() -> None:
    counts = schedule.remaining(85_524_480, "linear", 9, 0.1)
    assert counts == [85_524_480 - 8_552_448 * n for n in range(10)]


def test_geometric_gives_the_papers_densities_of_resnet50() -> None:
    total = 23_445_504
    counts = schedule.remaining(total, "geometric", 18, 0.2)
    assert counts[1] == total - 4_689_101
    for n, count in enumerate(counts):
        assert count / total == pytest.approx(0.8**n, rel=1e-5)


@given(st.lists(st.integers(1, 10**6 - 1), unique=True, min_size=1, max_size=20))
def test_explicit_keeps_the_given_densities(alive: list[int]) -> None:
    alive.sort(reverse=True)
    densities = [count / 10**6 for count in alive]
    counts = schedule.remaining(10**6, "explicit", len(alive), 0.2, densities)
    assert counts == [10**6, *alive]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((10, "linear", 10, 0.1), "leaves 0 of 10 weights"),
        ((10, "linear", 10, 0.1), "so use at most 9 rounds"),
        ((2, "geometric", 3, 0.2), "from 2 to 2 of 2"),
        ((100, "explicit", 2, 0.2, (0.5, 0.5)), "from 50 to 50 of 100"),
        ((100, "explicit", 2, 0.2, (0.5,)), "1 densities for prune.rounds = 2"),
        ((100, "explicit", 1, 0.2, (0.5, 0.2)), "2 densities for prune.rounds = 1"),
        ((100, "cubic", 2, 0.2), "'cubic'; should be one of geometric, linear, explicit"),
    ],
)
def test_an_impossible_schedule_is_refused_by_name(arguments: tuple, named: str) -> None:
    with pytest.raises(ConfigError, match="prune") as refused:
        schedule.remaining(*arguments)
    assert named in str(refused.value)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=5), st.integers(0, 5))
@example([3, 2], 4)  # ends at a weight each
def test_parts_follow_the_schedule_each_by_itself(totals: list[int], rounds: int) -> None:
    wanted = [totals]
    for _ in range(rounds):
        wanted.append([left - round(0.3 * left) for left in wanted[-1]])
    sums = [sum(state) for state in wanted]
    if any(after >= before or after < 1 for before, after in pairwise(sums)):
        with pytest.raises(ConfigError, match=f"prune.* of {sum(totals)} weights"):
            schedule.remaining_each(totals, "geometric", rounds, 0.3)
    else:  # a part of one weight may lose nothing in a round
        assert schedule.remaining_each(totals, "geometric", rounds, 0.3) == wanted
