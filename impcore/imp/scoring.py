"""All scores of one state of a run, and how they stand in its records.

Invariant: the model is as before, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from impcore.imp import records
from impcore.imp.evaluation import Advance, Score, evaluate
from impcore.imp.lab import Lab
from impcore.imp.learner import Learner
from impcore.imp.signals import Stop

Scores = Mapping[str, Score]
"""Prefix -> score: "" of the test set, "validation_" where images are held out, and both with
"average_" before them of the averaged weights, where there are any.
"""


def scores(lab: Lab, learner: Learner, stop: Stop, advance: Advance | None = None) -> Scores:
    """Score the model, and its average. Raises Stopped between batches if a stop is requested.

    `advance` is called after every batch of each evaluation in turn.
    """
    train = lab.config.train
    found: dict[str, Score] = {}
    weights = {"": nullcontext()} | (
        {} if learner.average is None else {"average_": learner.average.in_place()}
    )
    for prefix, held in weights.items():
        with held:
            lab.world.send_buffers(lab.model)  # those of an average too are process 0's
            for split, batches in (("", lab.test), ("validation_", lab.validation)):
                if batches is not None:
                    found[prefix + split] = evaluate(
                        lab.model,
                        batches,
                        lab.task,
                        stop,
                        batch_size=train.eval_batch_size,
                        amp=train.amp,
                        world=lab.world,
                        advance=advance,
                    )
    return found


def columns(found: Scores) -> dict[str, Any]:
    """What a row says of scores, beside accuracy and loss of the test set.

    A task with more than an accuracy has all its metrics under "metrics"; the other scores stand
    under their prefixes: validation_loss, average_accuracy, ...
    """
    metrics = {name: records.finite(value) for name, value in found[""].metrics.items()}
    result: dict[str, Any] = {} if list(metrics) == ["accuracy"] else {"metrics": metrics}
    for prefix, score in found.items():
        if prefix:
            values = {"loss": score.loss, **score.metrics}
            result |= {prefix + name: records.finite(value) for name, value in values.items()}
    return result
