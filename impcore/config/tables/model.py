"""[model]: the network."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from impcore.config.tables.base import PathText, Table, Unit, shown_as

Size = Annotated[int, Field(ge=1, le=2**20)]
SIZES = (
    "hidden_size",
    "layers",
    "heads",
    "intermediate_size",
    "positions",
    "dropout",
    "initializer_range",
)
"""The keys of a text model from scratch; the first four have no defaults."""

CifarArch = Literal[
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
]
ImageNetArch = Literal[
    "resnet18",
    "resnet26",
    "resnet34",
    "resnet50",
    "resnet101",
]
TextArch = Literal["bert",]
Arch = Literal[CifarArch, ImageNetArch, TextArch]
"""A line an architecture of `impcore.models`."""


class Model(Table):
    """The network."""

    arch: Arch
    """The architecture: a ResNet of the CIFAR family (14 20 32 44 56) or torchvision's, or BERT."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """The first layer: 3x3 of stride 1 without a pool, or 7x7 of stride 2 with one."""
    bn_gamma: Literal["ones", "uniform"] | None = None
    """Initial BatchNorm scales: 1, or U(0, 1); the architecture's published choice unless given."""
    path: PathText | None = None
    """Weights to start from: a safetensors or weights-only .pth file, or a Hugging Face folder.

    Of BERT without sizes: a folder with config.json, or the name of a model on the hub.
    """
    hidden_size: Size | None = None
    """BERT from scratch: width of the hidden states."""
    layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """BERT from scratch: layers of the encoder."""
    heads: Annotated[int, Field(ge=1, le=1000)] | None = None
    """BERT from scratch: attention heads a layer."""
    intermediate_size: Size | None = None
    """BERT from scratch: width inside the feed-forward networks."""
    positions: Annotated[Size | None, shown_as(512)] = None
    """BERT from scratch: the longest input, in tokens."""
    dropout: Annotated[Unit | None, shown_as(0.1)] = None
    """BERT from scratch: dropout probability."""
    initializer_range: Annotated[Annotated[float, Field(gt=0, le=10)] | None, shown_as(0.02)] = None
    """BERT from scratch: standard deviation of the initial weights; 0.02 suits a width of 768."""

    @property
    def is_text(self) -> bool:
        """Whether the architecture is for text, and not for images."""
        return self.arch in get_args(TextArch)

    @model_validator(mode="before")
    @classmethod
    def _defaults_from_scratch(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("hidden_size") is not None:
            return {"positions": 512, "dropout": 0.1, "initializer_range": 0.02} | {
                key: value for key, value in data.items() if value is not None
            }
        return data
