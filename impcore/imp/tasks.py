"""What a model is trained to do, and how well it does it: one row a task.

Invariant: a task's functions run on the device and read nothing back to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """A row: inputs to outputs, outputs and targets to the batch's mean loss (0-dimensional), and
    to the number of right answers in it (0-dimensional).
    """

    forward: Callable[[nn.Module, Any], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    hits: Callable[[Tensor, Tensor], Tensor]


def _call(model: nn.Module, inputs: Tensor) -> Tensor:
    outputs: Tensor = model(inputs)
    return outputs


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()


TASKS: Mapping[str, Task] = {"classification": Task(_call, F.cross_entropy, _hits)}
