from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from impcore.config import Config
from impcore.imp import lab, scoring, training
from impcore.imp.evaluation import Score
from impcore.imp.signals import Stop

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize(("ema", "validation"), [(None, 0), (0.5, 0), (None, 200), (0.5, 200)])
def test_every_split_is_scored_on_both_weights(
    make_config: MakeConfig, ema: float | None, validation: int
) -> None:
    made = lab.build(make_config(train__ema=ema, data__validation=validation))
    learner = made.learner()
    for _ in training.steps(learner, made.train, made.rate_at, start=0, end=2):
        pass
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    found = scoring.scores(made, learner, Stop())
    prefixes = ["", "validation_", "average_", "average_validation_"]
    left_out = ["average"] * (ema is None) + ["validation"] * (validation == 0)
    assert list(found) == [p for p in prefixes if not any(word in p for word in left_out)]
    assert len({score.loss for score in found.values()}) == len(found)
    assert all(torch.equal(t, before[n]) for n, t in made.model.state_dict().items())


def test_columns() -> None:
    found = {
        "": Score(0.5, {"accuracy": 0.25}),
        "average_": Score(math.inf, {"accuracy": 0.75}),
    }
    assert scoring.columns(found) == {"average_loss": None, "average_accuracy": 0.75}
    several = {"": Score(0.5, {"f1": 0.25, "accuracy": 0.5})}
    assert scoring.columns(several) == {"metrics": {"f1": 0.25, "accuracy": 0.5}}
