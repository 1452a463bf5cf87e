"""The prunable weights of well-known networks, as shapes: no weights need to be downloaded.

Values are drawn per layer with that layer's usual scale, so that the magnitudes of different layers
overlap as they do in trained networks.
"""

from __future__ import annotations

import math

import torch
from torch import nn

Shape = tuple[int, ...]


def resnet50() -> list[Shape]:
    """Convolutions and classifier of torchvision's ResNet-50: 25,502,912 weights."""
    shapes: list[Shape] = [(64, 3, 7, 7)]
    channels = 64
    for width, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            shapes += [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                shapes.append((4 * width, channels, 1, 1))
            channels = 4 * width
    return [*shapes, (1000, 2048)]


def bert_base() -> list[Shape]:
    """The encoder's linear layers and the pooler of BERT-base: 85,524,480 weights."""
    layer = [(768, 768)] * 4 + [(3072, 768), (768, 3072)]
    return [*(layer * 12), (768, 768)]


def resnet20() -> list[Shape]:
    """The CIFAR ResNet-20: 270,896 weights in 22 tensors."""
    shapes: list[Shape] = [(16, 3, 3, 3), *([(16, 16, 3, 3)] * 6)]
    for width in (32, 64):
        shapes += [(width, width // 2, 3, 3), (width, width // 2, 1, 1)]
        shapes += [(width, width, 3, 3)] * 5
    return [*shapes, (10, 64)]


SHAPES = {"resnet20": resnet20, "resnet50": resnet50, "bert-base": bert_base}


def draw(shape: Shape, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Kaiming-normal values for a weight of this shape."""
    scale = math.sqrt(2 / max(1, math.prod(shape[1:])))
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A module with a network's prunable weights, in Conv2d and Linear layers of their shapes."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for shape in SHAPES[name]():
        with torch.device("meta"):
            layer: nn.Module = (
                nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)
                if len(shape) == 4
                else nn.Linear(shape[1], shape[0], bias=False)
            )
        layer.weight = nn.Parameter(draw(shape, dtype, generator))
        layers.append(layer)
    return nn.Sequential(*layers)
