"""[model]: the network."""

from __future__ import annotations

from typing import Literal

from impcore.config.tables.base import PathText, Table

Arch = Literal[
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
]
"""A line an architecture of `impcore.models`."""


class Model(Table):
    """The network."""

    arch: Arch
    """The architecture: a CIFAR-family ResNet."""
    stem: Literal["cifar"] = "cifar"
    """The first layer: a 3x3 convolution of stride 1 without pooling."""
    path: PathText | None = None
    """A local safetensors file of weights to start from."""
