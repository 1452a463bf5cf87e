import pytest
import targets
from comparison import Comparison
from targets import Rule, Target


def comparison(**changes):
    given = {
        "op": "select bert-base", "dtype": "float32", "n": 85_524_480, "density": 1.0,
        "bytes": 4.25 * 85_524_480, "floor": "copy rate",
        "ms": {"cuda, graph": 0.1, "copy rate": 0.085, "triton, graph": 0.12},
    }  # fmt: skip
    return Comparison(**{**given, **changes})


@pytest.mark.parametrize(
    ("value", "at_least", "passed"),
    [(0.8, True, True), (0.79, True, False), (0.8, False, True), (0.81, False, False)],
)
def test_a_limit_itself_passes(value, at_least, passed):
    assert Target("x", value, 0.8, at_least).passed is passed


def test_the_share_of_the_copy_rate():
    (found,) = [t for t in targets.judge(targets.CUDA, [comparison()]) if "copy rate" in t.what]
    assert found.value == pytest.approx(0.85)
    assert found.limit == 0.8
    assert found.passed


def test_what_was_not_timed_says_why():
    left_out = {"CUB DeviceTopK": "no nvcc"}
    found = targets.judge(targets.CUDA, [comparison(left_out=left_out)])
    (cub,) = [t for t in found if "CUB" in t.what]
    assert (cub.value, cub.passed, cub.why) == (None, None, "CUB DeviceTopK: no nvcc")
    assert cub.as_json()["why"] == cub.why


def test_the_fastest_of_several_counts():
    rule = Rule("prune *", "x", ("a", "b"), ("ours",), at_least=5)
    ms = {"ours": 1.0, "a": 10.0, "b": 4.0}
    (found,) = targets.judge([rule], [comparison(op="prune x", ms=ms)])
    assert found.value == 4.0
    assert not found.passed


def test_rules_know_densities_and_sizes():
    rule = Rule("select *", "x", ("a",), ("b",), at_most=1, densities=(1.0,))
    assert rule.applies(comparison())
    assert not rule.applies(comparison(density=0.5))
    assert not rule.applies(comparison(n=10**6))
    assert not rule.applies(comparison(op="prune bert-base"))


def test_triton_is_judged_where_there_are_many_weights():
    def judged(n):
        found = targets.judge(targets.CUDA, [comparison(op="select llama-1b", n=n)])
        return [t.value for t in found if "Triton" in t.what]

    assert judged(10**9) == [pytest.approx(0.1 / 0.12)]
    assert judged(9 * 10**7) == []


def test_every_rule_has_one_limit():
    for rule in (*targets.CPU, *targets.CUDA):
        assert (rule.at_least is None) != (rule.at_most is None), rule


def test_a_sweep_is_linear_where_an_op_does_not_fall_behind_its_floor():
    def swept(layout, n, ms, floor):
        ms = {"impcore": ms, "floor": floor}
        return comparison(op=f"sweep-select {layout}", n=n, ms=ms, floor="floor")

    few = [swept("few", 10**7, 2.0, 1.0), swept("few", 10**6, 0.4, 0.1)]
    few += [swept("few", 10**8, 52.0, 20.0)]  # more than memory itself is slower than the caches
    found = targets.growth([*few, swept("many", 10**7, 4.0, 1.0), comparison()])
    assert [t.value for t in found] == [pytest.approx(0.5), pytest.approx(1.3)]
    assert [t.passed for t in found] == [True, False]
    assert found[1].what == (
        "sweep-select few, 100,000,000 weights: times the floor, to that of 10,000,000"
    )
