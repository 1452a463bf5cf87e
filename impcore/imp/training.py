"""One training, from a step to a later one.

Invariant: the state after a step is a function of the state before it and the step's number alone:
batch, augmentation and learning rate are looked up by the step, so a training may be left after
any step and taken up there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from impcore.data import Batches
from impcore.imp.tasks import Task


def autocast(device: torch.device, amp: str) -> AbstractContextManager[object]:
    """Mixed precision as `train.amp` names it: "none" or "bf16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp == "bf16")


def steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    task: Task,
    rate: Callable[[int], float],
    *,
    start: int,
    end: int,
    amp: str = "none",
) -> Iterator[tuple[int, Tensor]]:
    """Train from step `start` to step `end`, yielding (steps done, that step's loss) after each.

    Step s takes batch s mod steps_per_epoch of epoch s // steps_per_epoch at learning rate
    `rate(s)`. The loss stays on the device: reading it is the caller's choice and cost.
    """
    step = start
    while step < end:
        epoch, offset = divmod(step, batches.steps_per_epoch)
        for inputs, targets in batches.epoch(epoch, offset):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad(set_to_none=True)
            with autocast(batches.device, amp):
                loss = task.loss(task.forward(model, inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            yield step, loss.detach()
            if step == end:
                return
