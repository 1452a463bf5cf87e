"""What all residual networks here are made of: blocks, stages, and how their weights are drawn.

Invariant: parameter names are torchvision's (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0,
..., fc), so block patterns, masks, tickets and checkpoints carry over between networks of one
shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impcore.models.names import RESNET, Names

BN_GAMMAS = ("uniform", "ones")


class Block(nn.Module):
    """A branch of convolutions beside a shortcut: relu(branch(x) + shortcut(x)).

    The shortcut is the identity, or a 1x1 convolution with BatchNorm where the shape changes.
    A subclass puts out `expansion` times its `width` channels.
    """

    expansion: ClassVar[int]

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.make_branch(inputs, width, stride)
        self.downsample: nn.Module | None = None
        outputs = width * self.expansion
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def make_branch(self, inputs: int, width: int, stride: int) -> None:
        """Add the branch's layers under torchvision's names."""
        raise NotImplementedError

    def branch(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, ceil(H/stride), ceil(W/stride)]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, ceil(H/stride), ceil(W/stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        # In place, here and below: no backward pass needs what BatchNorm puts out, and on a CPU a
        # step takes 2 to 4 % longer if its memory is not used again at once.
        y = self.branch(x)
        y += shortcut
        return F.relu(y, inplace=True)


class BasicBlock(Block):
    """Two 3x3 convolutions: bn(conv(relu(bn(conv(x))))) (He et al. 2016, figure 5, left)."""

    expansion = 1

    def make_branch(self, inputs: int, width: int, stride: int) -> None:
        """Add conv1, bn1, conv2, bn2."""
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def branch(self, x: Tensor) -> Tensor:
        """Apply the two convolutions."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y: Tensor = self.bn2(self.conv2(x))
        return y


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide (He et al. 2016, figure 5, right).

    The stride is the 3x3 convolution's, as in torchvision, not the first one's, as in the paper.
    """

    expansion = 4

    def make_branch(self, inputs: int, width: int, stride: int) -> None:
        """Add conv1, bn1, conv2, bn2, conv3, bn3."""
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)

    def branch(self, x: Tensor) -> Tensor:
        """Apply the three convolutions."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        y: Tensor = self.bn3(self.conv3(x))
        return y


class ResNet(nn.Module):
    """Stages layer1, layer2, ... of blocks, between a stem and fc that a subclass adds."""

    stages: list[str]

    def add_stages(self, block: type[Block], counts: Sequence[int], widths: Sequence[int]) -> int:
        """Add a stage of counts[i] blocks of widths[i] for each i; return the last one's channels.

        The first stage takes widths[0] channels; all but it halve the image.
        """
        inputs = widths[0]
        self.stages = [f"layer{i}" for i in range(1, len(counts) + 1)]
        for name, count, width in zip(self.stages, counts, widths, strict=True):
            first = block(inputs, width, 1 if name == "layer1" else 2)
            inputs = width * block.expansion
            rest = (block(inputs, width, 1) for _ in range(count - 1))
            self.add_module(name, nn.Sequential(first, *rest))
        return inputs

    def features(self, x: Tensor) -> Tensor:
        """Map the stem's output to the last stage's mean over the image: [N, channels]."""
        for name in self.stages:
            x = getattr(self, name)(x)
        # A mean, not adaptive_avg_pool2d: the backward pass of the latter is not deterministic
        # on CUDA, and a resumed run has to end in the same bits.
        return x.mean((2, 3))

    def block_patterns(self, granularity: str) -> dict[str, list[str]]:
        """Return the blocks: the stages ("stage") or every residual block ("block").

        The stem and fc belong to none of them. See `impcore.models.blocks_of`.
        """
        if granularity == "stage":
            return {f"stage{name.removeprefix('layer')}": [f"{name}.*"] for name in self.stages}
        if granularity == "block":
            names = [f"{s}.{i}" for s in self.stages for i in range(len(getattr(self, s)))]
            return {name: [f"{name}.*"] for name in names}
        raise ValueError(f"granularity: {granularity!r} is neither 'stage' nor 'block'")

    def names_in_files(self) -> Names:
        """Return torchvision's and Hugging Face's names. See `impcore.models.weights`."""
        return RESNET

    def head_patterns(self) -> list[str]:
        """Return the head: the linear layer. See `impcore.models.head_of`."""
        return ["fc.*"]


def initialise(model: nn.Module, draw: Callable[[nn.Module], object], bn_gamma: str) -> None:
    """Draw all weights from PyTorch's global generator, module by module.

    `draw` gets every module that is no BatchNorm. BatchNorm scales are drawn from U(0, 1) for
    "uniform", or stay at 1 for "ones"; its biases stay at 0.
    """
    for module in model.modules():
        if not isinstance(module, nn.BatchNorm2d):
            draw(module)
        elif bn_gamma == "uniform":
            with torch.no_grad():
                module.weight.uniform_(0, 1)


def check_bn_gamma(bn_gamma: str) -> None:
    """Raise ValueError unless `bn_gamma` is one of `BN_GAMMAS`."""
    if bn_gamma not in BN_GAMMAS:
        raise ValueError(f"bn_gamma: {bn_gamma!r} is not one of {', '.join(BN_GAMMAS)}")
