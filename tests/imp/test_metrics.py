from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from impcore.imp import metrics

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)
NUMBERS = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=30
).map(lambda pairs: np.array(pairs, dtype=np.float64) / 8)


@given(PAIRS)
def test_two_classes_by_definition(pairs: list[tuple[int, int]]) -> None:
    guess, truth = np.array(pairs).T
    tp, fp, fn, tn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
    assert metrics.accuracy(guess, truth) == (tp + tn) / len(pairs)
    assert metrics.f1(guess, truth) == pytest.approx(tp / (tp + (fp + fn) / 2) if tp else 0.0)
    # Matthews' correlation of two classes is Pearson's of 0 and 1 (the phi coefficient).
    phi = metrics.pearson(guess, truth)
    assert metrics.matthews(guess, truth) == pytest.approx(0.0 if math.isnan(phi) else phi)


@given(NUMBERS)
def test_correlations_equal_scipys(pairs: np.ndarray) -> None:
    x, y = pairs.T
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    assert metrics.pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert metrics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_correlation_does_not_depend_on_the_unit(scale: float) -> None:
    x, y = np.array([0.0, 1.0, 3.0, 4.0]), np.array([1.0, 0.0, 2.0, 5.0])
    expected = metrics.pearson(x, y)
    assert metrics.pearson(x * scale, y / scale) == pytest.approx(expected, abs=1e-12)
    assert metrics.pearson(x, -x) == -1
    assert metrics.pearson(1e16 + 2 * x, x) == 1
    assert math.isnan(metrics.pearson(x[:0], y[:0]))


@pytest.mark.parametrize("bad", [[0.1, 0.1, 0.1], [1.0, 1.0, 1.0], [1.0, math.nan, 2.0]])
def test_a_correlation_that_is_undefined_is_nan(bad: list[float]) -> None:
    good = np.array([1.0, 2.0, 3.0])
    assert math.isnan(metrics.pearson(np.array(bad), good))
    assert math.isnan(metrics.spearman(np.array(bad), good))


def test_each_metric_stands_under_its_name() -> None:
    assert {name: metric.__name__ for name, metric in metrics.METRICS.items()} == {
        name: name for name in ("accuracy", "f1", "matthews", "pearson", "spearman")
    }
