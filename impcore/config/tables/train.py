"""[train]: how one training goes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from impcore.config.length import Length, TrainLength
from impcore.config.tables.base import (
    BatchSize,
    Choosing,
    Options,
    Unit,
    listed,
    shown_as,
)

Optimizer = Literal[
    "sgd",
    "adamw",
]
"""A line an optimiser of `impcore.imp.optimizers`."""

RateSchedule = Literal[
    "milestones",
    "linear",
    "cosine",
    "onecycle",
]
"""A line a shape of `impcore.imp.learning_rate`."""

_OPTIONS: Options = {
    "optimizer": {
        "sgd": {"momentum": 0.9, "nesterov": False},
        "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    },
    "schedule": {
        "milestones": {"milestones": (), "gamma": 0.1, "warmup": None},
        "linear": {"lr_end": 0.0, "lr_span": "round", "warmup": None},
        "cosine": {"lr_end": 0.0, "lr_span": "round", "warmup": None},
        "onecycle": {"lr_end": 4e-6, "warmup": "30%"},
    },
}

Betas = Annotated[tuple[Unit, ...], Field(min_length=2, max_length=2), BeforeValidator(listed)]
Milestones = Annotated[tuple[Length, ...], Field(max_length=100), BeforeValidator(listed)]


class Train(Choosing):
    """How one training goes, from its first step to its last."""

    OPTIONS: ClassVar[Options] = _OPTIONS

    length: TrainLength
    """Length of a whole training."""
    batch_size: BatchSize = 128
    """Training examples a batch."""
    accumulate: Annotated[int, Field(ge=1, le=2**20)] = 1
    """Batches a step: their gradients are accumulated; lengths are in steps all the same."""
    eval_batch_size: BatchSize = 1000
    """Examples a batch of evaluation."""
    optimizer: Optimizer = "sgd"
    """The optimiser."""
    lr: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """Learning rate after warm-up, before any decay."""
    weight_decay: Unit = 1e-4
    """Weight decay on every parameter: L2 (sgd) or decoupled (adamw)."""
    momentum: Annotated[Unit | None, shown_as(0.9)] = None
    """Optimizer sgd: momentum."""
    nesterov: Annotated[bool | None, shown_as(False)] = None
    """Optimizer sgd: Nesterov momentum."""
    betas: Annotated[Betas | None, shown_as([0.9, 0.999])] = None
    """Optimizer adamw: decay rates of the averages of the gradient and of its square."""
    eps: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, shown_as(1e-8)] = None
    """Optimizer adamw: added to the root in the denominator."""
    schedule: RateSchedule = "milestones"
    """How the learning rate goes: steps down at milestones, a decay to lr_end, or up and down."""
    milestones: Annotated[Milestones | None, shown_as([])] = None
    """Schedule milestones: when the learning rate is multiplied by gamma."""
    gamma: Annotated[Annotated[float, Field(gt=0, le=1)] | None, shown_as(0.1)] = None
    """Schedule milestones: factor on the learning rate at each."""
    lr_end: Annotated[Annotated[float, Field(ge=0, le=1)] | None, shown_as(0.0)] = None
    """Schedules linear, cosine, onecycle: end of the rate as a fraction of lr (onecycle: 4e-6)."""
    lr_span: Annotated[Literal["round", "all"] | None, shown_as("round")] = None
    """Schedules linear, cosine: decay over train.length, or over that of all rounds together."""
    warmup: Length | None = None
    """Length of the linear rise of the rate from 0; of onecycle, by a cosine from lr/25 (30%)."""
    label_smoothing: Unit = 0.0
    """Label smoothing of the training loss; the evaluated one has none."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Norm that the gradients of the remaining weights are clipped to."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an average of the weights, scored and saved beside them every round."""
    amp: Literal["none", "bf16", "fp16"] = "none"
    """Automatic mixed precision; fp16 scales the loss."""
    compile: bool = False
    """Compile the model for training by torch.compile."""
    cuda_graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole steps as a CUDA graph; auto does on CUDA, for images."""
    channels_last: bool = False
    """Keep images and weights in channels-last memory order."""
    eval_every: TrainLength | None = None
    """Length between evaluations within a round (evals.jsonl); only at its end unless given."""
    checkpoint_every: TrainLength | None = None
    """Length between checkpoints; 1ep and ten seconds, or more: at most 0.5 % of the time."""
