from __future__ import annotations

from typing import Any

import pytest

from impcore.imp.progress import too_far_below

FIRST: dict[str, Any] = {"round": 0, "accuracy": 0.75}


@pytest.mark.parametrize(("accuracy", "stops"), [(0.9, False), (0.5, False), (0.4999, True)])
def test_a_drop_is_measured_from_the_first_round(accuracy: float, stops: bool) -> None:
    why = too_far_below(FIRST, {"round": 3, "accuracy": accuracy}, 0.25)
    assert (why is not None) == stops


def test_validation_goes_before_the_test_set() -> None:
    first = FIRST | {"validation_accuracy": 0.9}
    last = {"round": 1, "accuracy": 0.1, "validation_accuracy": 0.8}
    assert too_far_below(first, last, 0.2) is None
    assert str(too_far_below(first, last, 0.05)).startswith("validation_accuracy 0.8000 in round 1")


def test_the_first_metric_is_compared() -> None:
    first = {"round": 0, "accuracy": None, "metrics": {"pearson": 0.8, "spearman": 0.1}}
    last = {"round": 1, "accuracy": None, "metrics": {"pearson": 0.2, "spearman": 0.9}}
    why = too_far_below(first, last, 0.5)
    assert why == (
        "pearson 0.2000 in round 1 is more than prune.max_drop = 0.5 below the 0.8000 of round 0"
    )
    last["metrics"] = {"pearson": None, "spearman": 0.9}
    assert "not finite" in str(too_far_below(first, last, 0.5))
    assert too_far_below(last, first, 0.5) is None
