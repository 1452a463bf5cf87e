"""What every loader offers, so that training does not know images from text.

Invariant: a training batch is a function of (seed, epoch, step) and the data alone, so a training
may be left after any step and taken up there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from impcore.data.truth import Truth


class Batches(Protocol):
    """Batches (inputs, targets) of one split on one device.

    Inputs are a tensor, or a dictionary of tensors that are the model's keywords. Of several
    processes each has a share of every training batch.
    """

    device: torch.device
    truth: Truth

    def __len__(self) -> int:
        """The number of examples."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        ...

    def weight(self, epoch: int, steps: range) -> float:
        """What the mean loss of batches of `epoch` is to be multiplied by; see `share.Share`."""
        ...

    def epoch(
        self, epoch: int, start_step: int = 0, *, whole: bool = False
    ) -> Iterator[tuple[Any, Tensor]]:
        """Return the training batches of `epoch` from `start_step` on; `whole` ones, or shares."""
        ...

    def eval_batches(self, batch_size: int | None = None) -> Iterator[tuple[Any, Tensor]]:
        """Return all examples once, in the order of the split, in batches dealt to processes."""
        ...
