from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from impcore.imp.evaluation import Score
from impcore.imp.progress import Progress, evaluation, row, ticket, too_far_below

LAB: Any = SimpleNamespace(
    masks=SimpleNamespace(density=0.25, remaining=25, total=100),
    steps=SimpleNamespace(steps_per_epoch=8),
    rate_at=lambda step: 100.0 + step,
)
FOUND = {
    "": Score(math.inf, {"accuracy": 0.5}),
    "validation_": Score(0.125, {"accuracy": math.nan}),
}
SCORED: dict[str, Any] = {
    "accuracy": 0.5,
    "loss": None,
    "train_loss": None,
    "validation_loss": 0.125,
    "validation_accuracy": None,
}

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
    assert "not finite" in str(too_far_below(first, last, 0.9))
    assert too_far_below(last, first, 0.5) is None
    assert too_far_below(last, last, 0.5) is None


def test_a_rise_is_no_drop_however_large() -> None:
    assert too_far_below({"round": 0, "accuracy": 0.1}, {"round": 1, "accuracy": 0.9}, 0.0) is None


@pytest.mark.parametrize("exact", [True, False])
def test_a_row_and_its_ticket_hold_the_state_that_was_trained(exact: bool) -> None:
    progress = Progress(round=3, step=20, seconds=1.23456, bit_exact=exact)
    made = row(LAB, progress, FOUND, math.nan, 20, "abc")
    mask = {"density": 0.25, "remaining": 25, "total": 100, "mask_hash": "abc"}
    kept = {"round": 3, "bit_exact": exact, **mask}
    assert made == {**kept, **SCORED, "steps": 20, "epochs": 2.5, "seconds": 1.235}
    packed = torch.tensor([255, 255, 255, 1, *[0] * 9], dtype=torch.uint8)
    saved = ticket(made, {"arch": "mlp"}, {"weight": packed}, {"weight": torch.ones(100)})
    assert saved.provenance == {**kept, "arch": "mlp"}


def test_an_evaluation_has_the_rate_of_the_last_step() -> None:
    progress = Progress(round=3, step=20)
    made = evaluation(LAB, progress, FOUND, math.nan)
    assert made == {"round": 3, "step": 20, "epoch": 2.5, "lr": 119.0, **SCORED}
