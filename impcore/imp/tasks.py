"""What a model is trained to do, and how well it does it: one row a task.

Invariant: forward, loss and results run on the device and read nothing back to the host; metrics
see the whole split at once, on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from impcore.data.truth import Truth
from impcore.errors import ConfigError
from impcore.imp import question_answering
from impcore.imp.metrics import METRICS

Inputs = Any
"""A batch's input: a tensor, or a dictionary of tensors that are the model's keywords."""


@dataclass(frozen=True)
class Task:
    """A row.

    Attributes:
        loss: outputs and targets to the mean loss over the targets (0-dimensional).
        results: outputs, inputs and targets to what the metrics need [results, ...], on the device.
        metrics: the results of a whole split [results, ...], its truth and its mean loss to
            name -> value, the most telling first; "accuracy" is a fraction.
        classes: whether the loss is over classes, and takes label_smoothing.
    """

    loss: Callable[..., Tensor]
    results: Callable[[Tensor, Inputs, Tensor], Tensor]
    metrics: Callable[[np.ndarray, Truth, float], dict[str, float]]
    classes: bool = True

    def forward(self, model: Callable[..., Any], inputs: Inputs) -> Tensor:
        """The model's outputs."""
        outputs: Tensor = model(**inputs) if isinstance(inputs, dict) else model(inputs)
        return outputs

    def training_loss(self, smoothing: float) -> Callable[..., Tensor]:
        """The loss with label smoothing (Szegedy et al. 2016, section 7), itself for 0.

        Raises:
            ConfigError: the task has no classes to smooth over.
        """
        if smoothing == 0:
            return self.loss
        if not self.classes:
            raise ConfigError(
                f"train.label_smoothing = {smoothing}: should be 0 for a task without classes"
            )
        return partial(self.loss, label_smoothing=smoothing)


def _chosen(logits: Tensor, inputs: Inputs, labels: Tensor) -> Tensor:
    """The class of the highest logit beside the right one, int64 [B, 2]."""
    return torch.stack((logits.argmax(dim=1), labels), dim=1)


def _numbers(outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
    return torch.stack((outputs.double(), targets.double()), dim=1)


def _named(results: np.ndarray, truth: Truth, loss: float) -> dict[str, float]:
    """The metrics that the split asks for, of each of its parts."""
    parts = truth.parts or {"": (0, len(results))}
    return {
        name + suffix: METRICS[name](results[begin:end, 0], results[begin:end, 1])
        for suffix, (begin, end) in parts.items()
        for name in truth.metrics
    }


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.float(), targets)


def _span_loss(scores: Tensor, spans: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy of start and end (Devlin et al. 2019, section 4.2)."""
    entropy = partial(F.cross_entropy, label_smoothing=label_smoothing)
    return (entropy(scores[..., 0], spans[:, 0]) + entropy(scores[..., 1], spans[:, 1])) / 2


def _spans(scores: Tensor, inputs: Inputs, spans: Tensor) -> Tensor:
    """The best span of each window; its context is the second segment but for the closing token."""
    second = inputs["token_type_ids"] == 1
    lengths = inputs["attention_mask"].sum(1, keepdim=True)
    places = torch.arange(second.shape[1], device=second.device)
    return question_answering.best_spans(scores, second & (places < lengths - 1))


def _answers(results: np.ndarray, truth: Truth, loss: float) -> dict[str, float]:
    assert truth.reading is not None
    return question_answering.score(results, truth.reading)


def _masked(results: np.ndarray, truth: Truth, loss: float) -> dict[str, float]:
    """The fraction of masked tokens that are recovered, and exp(loss)."""
    return _named(results, truth, loss) | {"perplexity": math.exp(min(loss, 700.0))}


TASKS: Mapping[str, Task] = {
    "classification": Task(F.cross_entropy, _chosen, _named),
    "regression": Task(_squared, _numbers, _named, classes=False),
    "extractive_qa": Task(_span_loss, _spans, _answers),
    "mlm": Task(F.cross_entropy, _chosen, _masked),
}
