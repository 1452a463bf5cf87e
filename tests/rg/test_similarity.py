"""Distances, the fixed-point score and uniformity, on vectors whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from impcore import rg
from impcore.rg.vectors import Vector, vector

DENSITY = 0.8 ** np.arange(13)
vectors_of = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


def noisy(rng, sigma, spread):
    steps = np.log(1.25) * (np.asarray(sigma) + rng.normal(0, spread, (12, len(sigma))))
    return rg.eigen(np.exp(np.vstack([np.zeros(len(sigma)), steps.cumsum(axis=0)])), DENSITY)


def drawn(rng, sigma, spread, steps):
    """What `eigen` makes of a walk of so many steps, without the detour over the flow."""
    walk = sigma + rng.normal(0, spread, (steps, len(sigma)))
    names, verdicts = tuple(map(str, range(len(sigma)))), ["marginal"] * len(sigma)
    return Vector(names, walk.mean(axis=0), stats.sem(walk), steps - 1, verdicts)


@given(vectors_of, vectors_of, vectors_of)
def test_distance_is_a_metric(a, b, c):
    def apart(x, y):
        return rg.distance(x, y).value

    assert apart(a, b) == apart(b, a) >= 0
    assert apart(a, a) == 0
    assert apart(a, c) <= apart(a, b) + apart(b, c) + 1e-12
    assert apart(a, b) == pytest.approx(np.sqrt(np.mean((np.array(a) - b) ** 2)))


def test_rest_is_no_block():
    M = DENSITY[:, None] ** [-0.1, 0.2, 5.0]
    result = rg.eigen(M, DENSITY, names=["a", "b", "rest"])
    assert vector(result).names == ("a", "b")
    assert rg.distance(result, [0.1, -0.2]).value == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match='only column is "rest"'):
        vector(rg.eigen(M[:, :1], DENSITY, names=["rest"]))


def test_blocks_of_the_same_names_are_compared_by_name_whatever_their_order():
    remaining = [100, 80, 64, 51]
    shares = np.array([[0.5, 0.2, 0.3], [0.4, 0.25, 0.35], [0.35, 0.25, 0.4], [0.3, 0.3, 0.4]])
    one = rg.eigen(shares, remaining, names=["a", "b", "c"])
    turned = rg.eigen(shares[:, [2, 0, 1]], remaining, names=["c", "a", "b"])
    assert rg.distance(one, turned).value == 0
    assert rg.cluster({"one": one, "turned": turned}).distances.max() == 0
    renamed = rg.eigen(shares[:, [2, 0, 1]], remaining, names=["x", "y", "z"])
    assert rg.distance(one, renamed).value > 0  # nothing but the place says what is what


def test_bare_sigma_has_no_uncertainty():
    found = rg.distance([0.1, 0.2], [0.1, 0.5])
    assert math.isnan(found.noise)
    assert math.isnan(found.low)
    assert math.isnan(found.p_same)
    assert "0.212" in str(found)


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.1])
def test_the_interval_of_a_distance_covers_it_and_equal_flows_are_seldom_told_apart(apart):
    rng = np.random.default_rng(3)
    first, second = np.zeros(4), apart * np.array([1, -1, 1, -1])
    found = [
        rg.distance(noisy(rng, first, 0.05), noisy(rng, second, 0.05), level=0.9)
        for _ in range(400)
    ]
    covered = np.mean([one.low <= apart <= one.high for one in found])
    # At 0 the interval is one-sided; SEMs from 12 rounds make it a little short elsewhere.
    assert 0.84 <= covered <= (0.99 if apart == 0 else 0.95)
    rejected = np.mean([one.p_same < 0.1 for one in found])
    assert rejected < 0.13 if apart == 0 else rejected > 0.1


def test_a_distance_far_beyond_the_noise_is_its_own_interval():
    wide = Vector(("a",), np.array([5.0]), np.array([0.01]), 10, ["relevant"])
    zero = Vector(("a",), np.array([0.0]), np.array([0.01]), 10, ["marginal"])
    found = rg.distance(wide, zero)
    half = stats.norm.ppf(0.975) * np.hypot(0.01, 0.01)
    assert found.low == pytest.approx(5 - half)
    assert found.high == pytest.approx(5 + half)
    assert found.p_same < 1e-12


@pytest.mark.parametrize(("blocks", "level"), [(1, 0.95), (4, 0.9), (50, 0.5)])
def test_no_interval_ends_below_what_the_noise_allows(blocks, level):
    names, verdicts = tuple(map(str, range(blocks))), ["marginal"] * blocks
    ends = []
    for apart in (0.0, 1e-4, 0.02):
        here, there = (
            Vector(names, np.full(blocks, sigma), np.full(blocks, 0.1), 10, verdicts)
            for sigma in (0.0, apart)
        )
        found = rg.distance(here, there, level=level)
        assert found.low == 0
        ends.append(found.high)
    scale = blocks / (2 * 0.1**2)
    median = stats.chi2.median(blocks)
    assert stats.ncx2.cdf(median, blocks, scale * ends[0] ** 2) == pytest.approx(0.5 - level / 2)
    assert ends == [ends[0]] * 3


def test_different_numbers_of_blocks_cannot_be_compared():
    with pytest.raises(ValueError, match="'first' has 2 blocks and 'second' has 3"):
        rg.distance([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="first must be one or more finite numbers"):
        rg.distance([math.nan], [1])


@pytest.mark.parametrize("wrong", ["runs/a", None, 3, rg])
def test_what_has_no_sigma_is_refused_by_its_kind(wrong):
    wanted = rf" must be of type Eigen or Seeds, .* or a sequence of σ, not {type(wrong).__name__}$"
    with pytest.raises(TypeError, match=f"^first{wanted}"):
        rg.distance(wrong, [1, 2])
    with pytest.raises(TypeError, match=f"^second{wanted}"):
        rg.distance([1, 2], wrong)
    for measure in (rg.fixed_point, rg.uniformity):
        with pytest.raises(TypeError, match=f"^source{wanted}"):
            measure(wrong)


def test_a_p_value_is_headed_by_what_it_supposes():
    moving = DENSITY[:, None] ** [-0.1, 0.2]
    assert rg.eigen(moving, DENSITY).table().headers[-1] == "p, if straight"
    assert rg.distance([1, 2], [1, 3]).table().headers[-1] == "p, if equal"
    assert rg.fixed_point([1, 2]).table().headers[-1] == "p, if static"


def test_sigma_of_other_kinds_of_numbers_are_refused():
    for wrong, kind in (([True], "bool"), ([1j], "complex128"), (["a"], "<U1")):
        with pytest.raises(ValueError, match=f"^second must hold real numbers, not dtype {kind}$"):
            rg.distance([1], wrong)
    with pytest.raises(TypeError, match=r"^stages must be a mapping .*, not list$"):
        rg.uniformity([1, 2], stages=["σ1"])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(0, 4))
def test_the_fixed_point_score_is_zero_at_a_fixed_point_and_scales(sigma, factor):
    score = rg.fixed_point(sigma)
    assert score.speed == pytest.approx(math.sqrt(np.mean(np.square(sigma))))
    assert score.typical == pytest.approx(np.median(np.abs(sigma)))
    scaled = rg.fixed_point([factor * value for value in sigma])
    assert scaled.speed == pytest.approx(factor * score.speed, abs=1e-12)
    assert rg.fixed_point([0.0] * len(sigma)).speed == 0


@pytest.mark.parametrize(
    ("blocks", "steps", "spread"),
    [(4, 12, 0.05), (12, 3, 0.05), (50, 5, 0.05), (12, 9, np.geomspace(0.01, 0.5, 12))],
)
def test_a_fixed_point_is_rejected_as_often_as_it_should_be(blocks, steps, spread):
    rng = np.random.default_rng(8)
    zero, move = np.zeros(blocks), np.full(blocks, 0.4)
    still = [rg.fixed_point(drawn(rng, zero, spread, steps)).p_static for _ in range(600)]
    moving = [rg.fixed_point(drawn(rng, move, spread, steps)).p_static for _ in range(20)]
    assert 0.03 < np.mean(np.array(still) < 0.05) < 0.075
    assert (np.array(moving) < 0.01).all()


@pytest.mark.parametrize(
    ("blocks", "steps", "spreads", "most"),
    [
        (12, (3, 3), (0.1, 0.1), 0.05),
        (50, (5, 5), (0.1, 0.1), 0.06),
        (1, (3, 18), (0.2, 0.05), 0.08),
        (12, (3, 18), (0.2, 0.05), 0.08),
        (12, (3, 18), (0.1, 0.1), 0.08),
    ],
)
def test_equal_flows_are_seldom_told_apart_whatever_their_steps_and_noise(
    blocks, steps, spreads, most
):
    rng = np.random.default_rng(5)
    rejected = np.mean([
        rg.distance(*(drawn(rng, np.zeros(blocks), spread, count)
                      for spread, count in zip(spreads, steps, strict=True))).p_same < 0.05
        for _ in range(600)
    ])  # fmt: skip
    assert 0.005 < rejected < most


def test_an_exact_flow_leaves_the_other_ones_degrees_of_freedom():
    sigma, sem = np.array([0.3, -0.1]), np.array([0.1, 0.1])
    noisy = Vector(("a", "b"), sigma, sem, 5, ["marginal"] * 2)
    exact = Vector(("a", "b"), np.zeros(2), np.zeros(2), 3, ["marginal"] * 2)
    single = 2 * stats.t.sf([3, 1], 5)
    expected = stats.chi2.sf(stats.chi2.isf(single, 1).sum(), 2)
    assert rg.distance(noisy, exact).p_same == pytest.approx(expected)
    assert rg.distance(exact, noisy).p_same == pytest.approx(expected)
    assert math.isnan(rg.distance(exact, exact).p_same)


@pytest.mark.parametrize("blocks", [300, 1000])
@pytest.mark.parametrize("statistic", [9990, 10010, 20000])
def test_the_interval_of_a_distance_over_many_blocks_is_that_of_the_noncentral_chi2(
    blocks, statistic
):
    names = tuple(map(str, range(blocks)))
    value, sem = math.sqrt(statistic / blocks), np.ones(blocks)
    far = Vector(names, np.full(blocks, value), sem, 10, ["marginal"] * blocks)
    zero = Vector(names, np.zeros(blocks), 0 * sem, 10, ["marginal"] * blocks)
    found = rg.distance(far, zero)
    for bound, probability in ((found.low, 0.975), (found.high, 0.025)):
        centre = blocks * bound**2
        below, above = (
            stats.ncx2.cdf(statistic, blocks, centre * (1 + part)) for part in (0.003, -0.003)
        )
        assert below < probability < above


def test_uniformity_by_stage():
    sigma = [0.1, 0.1, 0.1, -0.2, 0.2, 0.5]
    names = ("layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1", "layer3.0")
    result = rg.uniformity(Vector(names, np.array(sigma), np.full(6, 0.01), 10, ["relevant"] * 6))
    assert result.stages == ("layer1", "layer2", "layer3")
    assert result.blocks == (3, 2, 1)
    np.testing.assert_allclose(result.spread, [0, 0.2, 0], atol=1e-12)
    np.testing.assert_allclose(result.mean, [0.1, 0, 0.5], atol=1e-12)
    np.testing.assert_allclose(result.noise, 0.01 * np.sqrt([2 / 3, 1 / 2, 0]))
    chosen = rg.uniformity(sigma, {"some": ["σ1", "σ4"]})
    assert chosen.spread == (pytest.approx(0.15),)
    assert rg.uniformity([0.1, 0.3]).stages == ("all",)
    for wrong in ({"s": ["σ9"]}, {"s": []}):
        with pytest.raises(ValueError, match="stages: 's' names"):
            rg.uniformity(sigma, wrong)
