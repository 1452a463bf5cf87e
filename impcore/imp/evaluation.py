"""The loss and the metrics of a model on all examples of a split.

Invariant: the model's weights, buffers and mode are as before; the device is read once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from impcore.data import Batches
from impcore.imp.learner import autocast
from impcore.imp.signals import Stop
from impcore.imp.tasks import Task


@dataclass(frozen=True)
class Score:
    """`loss` as the mean over targets; `metrics` as the task names them, the most telling first."""

    loss: float
    metrics: dict[str, float]

    @property
    def accuracy(self) -> float | None:
        """A fraction (0 to 1); None if the task has none."""
        return self.metrics.get("accuracy")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Batches,
    task: Task,
    stop: Stop,
    *,
    batch_size: int,
    amp: str = "none",
) -> Score:
    """Score `model` in evaluation mode. Raises Stopped between batches if a stop is requested."""
    results: list[Tensor] = []
    loss = torch.zeros((), dtype=torch.float64, device=batches.device)
    count = 0
    was_training = model.training
    model.eval()
    try:
        for inputs, targets in batches.eval_batches(batch_size):
            stop.check()
            with autocast(batches.device, amp):
                outputs = task.forward(model, inputs)
                loss += task.loss(outputs, targets).double() * len(targets)
            results.append(task.results(outputs, inputs, targets))
            count += len(targets)
    finally:
        model.train(was_training)
    mean = loss.item() / count
    return Score(mean, task.metrics(torch.cat(results).cpu().numpy(), batches.truth, mean))
