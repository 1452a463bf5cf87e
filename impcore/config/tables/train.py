"""[train]: how one training goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from impcore.config.length import Length
from impcore.config.tables.base import BatchSize, Table, TrainLength, Unit, listed

Optimizer = Literal["sgd",]
"""A line an optimiser of `impcore.imp.optimizers`."""


class Train(Table):
    """How one training goes, from its first step to its last."""

    length: TrainLength
    """Length of a whole training."""
    batch_size: BatchSize = 128
    """Training images a step."""
    eval_batch_size: BatchSize = 1000
    """Images a step of evaluation."""
    optimizer: Optimizer = "sgd"
    """The optimiser."""
    lr: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """Learning rate after warm-up and before the first milestone."""
    momentum: Unit = 0.9
    """Momentum of SGD."""
    weight_decay: Unit = 1e-4
    """Weight decay (L2), on every parameter."""
    nesterov: bool = False
    """Nesterov momentum."""
    milestones: Annotated[tuple[Length, ...], Field(max_length=100), BeforeValidator(listed)] = ()
    """When the learning rate is multiplied by gamma."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor on the learning rate at a milestone."""
    warmup: Length | None = None
    """Length of a linear warm-up of the learning rate from 0, per step."""
    amp: Literal["none", "bf16"] = "none"
    """Automatic mixed precision."""
    channels_last: bool = False
    """Keep images and weights in channels-last memory order."""
    checkpoint_every: TrainLength = Length("1ep")
    """Length between checkpoints: what a kill -9 can lose at most."""
