from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from impcore.config.faults import ABSENT, Fault, quote, suggestion, unknown_key
from impcore.config.recipe import TABLES

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_any_value_is_quoted_shortly_and_on_one_line(value: object) -> None:
    assert len(quote(value)) <= 100
    assert quote(value).splitlines() in ([quote(value)], [])


def test_extreme_values_are_quoted() -> None:
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    assert quote(deep) == "[[[[[[[...]]]]]]]"
    assert quote(1 << 100_000) == "a huge integer"
    assert quote([1 << 100_000]) == "a huge integer"
    assert (quote(True), quote(("a",))) == ("true", "['a']")


@given(st.text(), st.text())
def test_any_fault_is_one_line(key: str, message: str) -> None:
    line = str(Fault(key, ABSENT, ""))
    assert len(line.splitlines()) == 1
    assert str(Fault("a.b", 1, "should be 2")) == "a.b = 1: should be 2"


def test_the_nearest_or_all_are_suggested() -> None:
    assert suggestion("rat", ["rate", "rounds"]) == "; nearest: rate"
    for names in (["resnet20", "resnet32"], ["resnet32", "resnet20"]):  # as many letters in common
        assert suggestion("resnet21", names) == "; nearest: resnet20"
        assert suggestion("resnet31", names) == "; nearest: resnet32"
    assert suggestion("zzz", []) == "; valid: "
    assert suggestion("zzz", ["rate", "rounds"]) == "; valid: rate, rounds"


def test_unknown_keys_are_looked_for_everywhere() -> None:
    assert unknown_key("prun", TABLES) == "no such table; nearest: prune"
    assert unknown_key("prune.rat", TABLES) == "no such key; nearest: prune.rate"
    assert unknown_key("prune.momentum", TABLES) == "no such key; nearest: train.momentum"
    assert unknown_key("analysis.zzz", TABLES) == "no such key; valid: granularity, theta"
