"""The loss and the metrics of a model on all examples of a split.

Invariant: the model's weights, buffers and mode are as before; the device is read once, at the end.
Each batch is scored by one process and the results are put together in the order of the split, so
they do not depend on how many processes there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from impcore.data import Batches
from impcore.imp.distributed import ALONE, World
from impcore.imp.learner import autocast
from impcore.imp.signals import Stop
from impcore.imp.tasks import Task

Advance = Callable[[int, int], None]
"""Called after each batch of this process: how many are done, and of how many."""


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
    world: World = ALONE,
    advance: Advance | None = None,
) -> Score:
    """Score `model` in evaluation mode. Raises Stopped between batches if a stop is requested.

    All processes of `world` call it together, and return the same score.
    """
    results: list[Tensor] = []
    losses: list[Tensor] = []
    lengths: list[int] = []
    mine = batches.eval_batches(batch_size)
    was_training = model.training
    model.eval()
    try:
        turns = -(-len(batches) // (batch_size * world.size))
        for turn in range(1, turns + 1):
            stop.check()
            for inputs, targets in islice(mine, 1):
                with autocast(batches.device, amp):
                    outputs = task.forward(model, inputs)
                    losses.append(task.loss(outputs, targets).double() * len(targets))
                results.append(task.results(outputs, inputs, targets))
                lengths.append(len(targets))
            if advance is not None:
                advance(turn, turns)
    finally:
        model.train(was_training)
    parts = world.gather({"results": results, "losses": losses, "lengths": lengths})
    total = math.fsum(torch.stack(_in_order(parts, "losses")).tolist())
    mean = total / sum(_in_order(parts, "lengths"))
    everything = torch.cat(_in_order(parts, "results")).cpu().numpy()
    return Score(mean, task.metrics(everything, batches.truth, mean))


def _in_order(parts: Sequence[Mapping[str, list[Any]]], key: str) -> list[Any]:
    """What was dealt to the processes in turn, back in one list."""
    turns = zip_longest(*(part[key] for part in parts), fillvalue=None)
    return [value for turn in turns for value in turn if value is not None]
