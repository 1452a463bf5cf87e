"""Accuracy and loss of a model on all images of a split.

Invariant: the model's weights, buffers and mode are as before; the device is read once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from impcore.data import DeviceBatches
from impcore.imp.signals import Stop
from impcore.imp.tasks import Task
from impcore.imp.training import autocast


@dataclass(frozen=True)
class Score:
    """`accuracy` as a fraction (0 to 1), `loss` as the mean over images."""

    accuracy: float
    loss: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: DeviceBatches,
    task: Task,
    stop: Stop,
    *,
    batch_size: int,
    amp: str = "none",
) -> Score:
    """Score `model` in evaluation mode. Raises Stopped between batches if a stop is requested."""
    hits = torch.zeros((), dtype=torch.int64, device=batches.device)
    loss = torch.zeros((), dtype=torch.float64, device=batches.device)
    was_training = model.training
    model.eval()
    try:
        for inputs, targets in batches.eval_batches(batch_size):
            stop.check()
            with autocast(batches.device, amp):
                outputs = task.forward(model, inputs)
                loss += task.loss(outputs, targets).double() * len(targets)
            hits += task.hits(outputs, targets)
    finally:
        model.train(was_training)
    return Score(hits.item() / len(batches), loss.item() / len(batches))
