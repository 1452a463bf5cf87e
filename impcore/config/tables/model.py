"""[model]: the network."""

from __future__ import annotations

from typing import Literal

from impcore.config.tables.base import PathText, Table

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
Arch = Literal[CifarArch, ImageNetArch]
"""A line an architecture of `impcore.models`."""


class Model(Table):
    """The network."""

    arch: Arch
    """The architecture: a ResNet of the CIFAR family (14 20 32 44 56) or of torchvision's."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """The first layer: 3x3 of stride 1 without a pool, or 7x7 of stride 2 with one."""
    bn_gamma: Literal["ones", "uniform"] | None = None
    """Initial BatchNorm scales: 1, or U(0, 1); the architecture's published choice unless given."""
    path: PathText | None = None
    """Weights to start from: a safetensors or weights-only .pth file, or a Hugging Face folder."""
