"""Clustering: SciPy's tree of our distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore import rg


def blobs(seed):
    rng = np.random.default_rng(seed)
    centres = {"low": [0.0, 0.0, 0.0], "high": [1.0, 1.0, 1.0], "mixed": [1.0, -1.0, 0.0]}
    return {
        f"{name}{i}": (np.array(centre) + rng.normal(0, 0.02, 3)).tolist()
        for i in range(3)
        for name, centre in centres.items()
    }


@given(st.integers(0, 2**32 - 1), st.permutations(range(9)))
def test_well_separated_runs_fall_apart_as_they_were_made_in_any_order(seed, order):
    runs = list(blobs(seed).items())
    result = rg.cluster(dict(runs[i] for i in order))
    found = {frozenset(group) for group in result.groups(0.4)}
    expected = {frozenset(f"{name}{i}" for i in range(3)) for name in ("low", "high", "mixed")}
    assert found == expected
    assert result.groups(10) == (tuple(result.labels[i] for i in result.order),)
    assert len(result.groups(0)) == 9


def test_distances_are_those_of_distance_and_leaves_are_optimal():
    runs = blobs(1)
    result = rg.cluster(runs)
    for i, a in enumerate(result.labels):
        for j, b in enumerate(result.labels):
            assert result.distances[i, j] == pytest.approx(rg.distance(runs[a], runs[b]).value)
    steps = [
        result.distances[a, b] for a, b in zip(result.order[:-1], result.order[1:], strict=True)
    ]
    assert sum(step > 0.4 for step in steps) == 2  # neighbours are alike but between clusters
    assert str(result).splitlines()[1].split()[0] == "run"


@pytest.mark.parametrize("method", ["single", "complete", "ward"])
def test_other_methods(method):
    assert len(rg.cluster(blobs(2), method=method).groups(0.5)) == 3


def test_one_run_is_a_tree_of_one_leaf():
    result = rg.cluster({"a": [1.0, 2.0]})
    assert result.groups(1) == (("a",),)
    assert result.linkage.shape == (0, 4)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least one run"):
        rg.cluster({})
    with pytest.raises(ValueError, match="'a' has 1 blocks and 'b' has 2"):
        rg.cluster({"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match=r"method must be one of average, .* not 'median'"):
        rg.cluster({"a": [1]}, method="median")
    for wrong in ("runs/a", ["runs/a"]):
        found = f"^sources must be a mapping from labels .*, not {type(wrong).__name__}$"
        with pytest.raises(TypeError, match=found):
            rg.cluster(wrong)
    with pytest.raises(TypeError, match=r"^sources\['b'\] must be of type Eigen .*, not str$"):
        rg.cluster({"a": [1], "b": "runs/b"})
