"""A recipe's tables, one frozen and strict model each; the text under a key is its help.

Invariant: a table that exists holds known keys only, each of its own TOML type, finite, in range.
What keys demand of each other is in rules.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from impcore.config.length import Length, RewindPoint

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


def _plain_name(text: str) -> str:
    if not _NAME.fullmatch(text) or ".." in text:
        raise ValueError("should be letters, digits, '_', '-' or single '.', and no path")
    return text


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("should be a path of printable characters")
    return text


def _no_parent(text: str) -> str:
    if ".." in Path(text).parts:
        raise ValueError("should not contain '..': write the absolute path instead")
    return text


def _not_percent(length: Length) -> Length:
    if length.unit == "%":
        raise ValueError("should be epochs ('160ep') or steps ('5000it'), not a percentage")
    return length


def _shown_as(default: str) -> FieldInfo:
    """The default that the help shows for a key whose default depends on others."""
    return cast(FieldInfo, Field(json_schema_extra={"default": default}))


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
PathText = Annotated[str, Field(max_length=4000), AfterValidator(_path)]
TrainLength = Annotated[Length, AfterValidator(_not_percent)]
Unit = Annotated[float, Field(ge=0, lt=1)]
BatchSize = Annotated[int, Field(ge=1, le=2**20)]
Patterns = Annotated[
    tuple[Text, ...], Field(min_length=1, max_length=1000), BeforeValidator(_listed)
]


class Table(BaseModel):
    """What all tables share: strict types, no unknown keys, no NaN or infinity, no changes."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class Run(Table):
    """What is run, and where it writes."""

    experiment: Literal["imp"] = "imp"
    """The experiment: iterative magnitude pruning."""
    name: Annotated[str, AfterValidator(_plain_name), _shown_as("<recipe>")] = "run"
    """The run's name."""
    out: Annotated[PathText, AfterValidator(_no_parent), _shown_as("runs/<name>")] = "runs/run"
    """The run directory itself."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of initialisation, data order and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA if it is there."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 leaves PyTorch's own choice."""

    @model_validator(mode="before")
    @classmethod
    def _out_follows_name(cls, data: object) -> object:
        if isinstance(data, dict) and "out" not in data:
            name = data.get("name")
            if isinstance(name, str) and _NAME.fullmatch(name) and ".." not in name:
                return {**data, "out": f"runs/{name}"}
        return data


class Model(Table):
    """The network."""

    arch: Literal["resnet14", "resnet20", "resnet32", "resnet44", "resnet56"]
    """The architecture: a CIFAR-family ResNet."""
    stem: Literal["cifar"] = "cifar"
    """The first layer: a 3x3 convolution of stride 1 without pooling."""
    path: PathText | None = None
    """A local safetensors file of weights to start from."""


class Data(Table):
    """The data set."""

    name: Literal["digits", "cifar10", "cifar100"]
    """The data set; digits is shipped with the package."""
    root: PathText | None = None
    """The directory of the data set's files; $IMPCORE_DATA unless given."""
    augment: Literal["none", "crop", "flip_crop"] = "none"
    """Augmentation of training images: padded random crop, with or without horizontal flips."""


class Train(Table):
    """How one training goes, from its first step to its last."""

    length: TrainLength
    """Length of a whole training."""
    batch_size: BatchSize = 128
    """Training images a step."""
    eval_batch_size: BatchSize = 1000
    """Images a step of evaluation."""
    optimizer: Literal["sgd"] = "sgd"
    """The optimiser."""
    lr: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """Learning rate after warm-up and before the first milestone."""
    momentum: Unit = 0.9
    """Momentum of SGD."""
    weight_decay: Unit = 1e-4
    """Weight decay (L2), on every parameter."""
    nesterov: bool = False
    """Nesterov momentum."""
    milestones: Annotated[tuple[Length, ...], Field(max_length=100), BeforeValidator(_listed)] = ()
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


class Prune(Table):
    """How much is pruned, how often, and which weights."""

    rounds: Annotated[int, Field(ge=0, le=1000)]
    """Number of prunes R; there are R + 1 trainings."""
    rate: Unit = 0.2
    """Fraction pruned a round: of the remaining weights (geometric) or of all of them (linear)."""
    schedule: Literal["geometric", "linear", "explicit"] = "geometric"
    """How the density falls: by rate, or along `densities` (explicit)."""
    densities: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(max_length=1000),
        BeforeValidator(_listed),
    ] = ()
    """Explicit schedule: the density after each prune, falling."""
    scope: Literal["global"] = "global"
    """What competes: all prunable weights of the model at once."""
    score: Literal["magnitude"] = "magnitude"
    """What a weight is ranked by: its absolute value."""
    include: Patterns | None = None
    """fnmatch patterns of what to prune; weights of Linear and Conv layers unless given."""
    exclude: Patterns | None = None
    """fnmatch patterns of parameter names never to prune."""


class Rewind(Table):
    """What happens after a prune, before the next training.

    "weights": survivors return to their values at `to` and train on from there. "lr": survivors
    keep their trained values, the learning rate returns to where it was at `to`. "finetune":
    survivors keep their trained values and train for `length` at the last learning rate.
    """

    kind: Literal["weights", "lr", "finetune"] = "weights"
    """What is rewound: weights and learning rate, the learning rate alone, or nothing."""
    to: RewindPoint = RewindPoint("init")
    """The rewind point: init, pretrained (with model.path) or a length; unused by finetune."""
    lr_schedule: Literal["resume", "restart"] = "resume"
    """With kind = weights: the schedule resumes at the rewind step, or restarts from 0."""
    length: Length | None = None
    """Finetune: the length after each prune; train.length unless given."""


class Analysis(Table):
    """What the flow is measured on."""

    granularity: Literal["stage", "block"] = "stage"
    """The blocks of the flow: the network's stages, or its residual blocks."""
    theta: Literal["trained", "rewound"] = "trained"
    """The weights that M is measured on: at the end of a training, or after the rewind."""
