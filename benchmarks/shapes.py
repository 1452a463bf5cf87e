"""The prunable weights of well-known networks, as shapes: no weights need to be downloaded.

Values are drawn per layer with that layer's usual scale, so that the magnitudes of different layers
overlap as they do in trained networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def llama_1b() -> list[Shape]:
    """The linear layers of Llama-3.2-1B's 16 blocks: 973,078,528 weights."""
    attention = [(2048, 2048), (512, 2048), (512, 2048), (2048, 2048)]
    return [*attention, (8192, 2048), (8192, 2048), (2048, 8192)] * 16


def llama_7b() -> list[Shape]:
    """The linear layers of Llama-2-7B's 32 blocks: 6,476,005,376 weights."""
    return [*[(4096, 4096)] * 4, (11008, 4096), (11008, 4096), (4096, 11008)] * 32


SHAPES = {
    "resnet20": resnet20,
    "resnet50": resnet50,
    "bert-base": bert_base,
    "llama-1b": llama_1b,
    "llama-7b": llama_7b,
}


def draw(shape: Shape, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Kaiming-normal values for a weight of this shape, on the generator's device."""
    scale = math.sqrt(2 / max(1, math.prod(shape[1:])))
    values = torch.randn(shape, generator=generator, device=generator.device)
    return values.mul_(scale).to(dtype)


def weights(
    name: str,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[torch.Tensor]:
    """A network's prunable weights, drawn on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    return [draw(shape, dtype, generator) for shape in SHAPES[name]()]


def module_of(tensors: Sequence[torch.Tensor]) -> nn.Module:
    """A module of Conv2d and Linear layers whose weights are these tensors, not copies."""
    layers: list[nn.Module] = []
    for tensor in tensors:
        shape = tuple(tensor.shape)
        with torch.device("meta"):
            layer: nn.Module = (
                nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)
                if len(shape) == 4
                else nn.Linear(shape[1], shape[0], bias=False)
            )
        layer.weight = nn.Parameter(tensor)
        layers.append(layer)
    return nn.Sequential(*layers)


def model(
    name: str,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """A module with a network's prunable weights, in Conv2d and Linear layers of their shapes."""
    return module_of(weights(name, dtype, seed, device))
