"""Residual networks with torchvision's parameter names: the CIFAR family of ResNet-14 to 56.

Invariant: parameter names are torchvision's (conv1, bn1, layer1.0.conv1, layer2.0.downsample.0,
..., fc), so block patterns, masks and tickets carry over between networks of one shape.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CIFAR_WIDTHS = (16, 32, 64)
BN_GAMMAS = ("uniform", "ones")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)).

    The shortcut is the identity, or a 1x1 convolution with BatchNorm where the shape changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, ceil(H/stride), ceil(W/stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class CifarResNet(nn.Module):
    """The CIFAR ResNet of He et al. 2016, section 4.2, in the variant of Elastic Lottery Tickets.

    A 3x3 stem, three stages of (depth - 2)/6 basic blocks of 16, 32 and 64 channels, global
    average pooling and one linear layer. Unlike He et al., and like Chen et al. 2021 (ElasticLTH)
    and open_lth, the first block of stages 2 and 3 has a 1x1 convolution with BatchNorm as its
    shortcut. Takes any input of at least 1x1 pixels: 8x8 digits as well as 32x32 images.
    """

    def __init__(self, depth: int, *, num_classes: int, in_channels: int, bn_gamma: str) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        w1, w2, w3 = CIFAR_WIDTHS
        self.conv1 = nn.Conv2d(in_channels, w1, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(w1)
        self.layer1 = _stage(w1, w1, blocks, stride=1)
        self.layer2 = _stage(w1, w2, blocks, stride=2)
        self.layer3 = _stage(w2, w3, blocks, stride=2)
        self.fc = nn.Linear(w3, num_classes)
        initialise(self, bn_gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        # A mean, not adaptive_avg_pool2d: the backward pass of the latter is not deterministic
        # on CUDA, and a resumed run has to end in the same bits.
        return cast(Tensor, self.fc(x.mean((2, 3))))

    def block_patterns(self, granularity: str) -> dict[str, list[str]]:
        """Return the blocks: the three stages ("stage") or every residual block ("block").

        The stem and fc belong to none of them. See `impcore.models.blocks_of`.
        """
        stages = {"layer1": self.layer1, "layer2": self.layer2, "layer3": self.layer3}
        if granularity == "stage":
            return {f"stage{name[-1]}": [f"{name}.*"] for name in stages}
        if granularity == "block":
            names = [f"{name}.{i}" for name, stage in stages.items() for i in range(len(stage))]
            return {name: [f"{name}.*"] for name in names}
        raise ValueError(f"granularity: {granularity!r} is neither 'stage' nor 'block'")

    def head_patterns(self) -> list[str]:
        """Return the head: the linear layer. See `impcore.models.head_of`."""
        return ["fc.*"]


def cifar_resnet(
    depth: int,
    *,
    stem: str = "cifar",
    num_classes: int = 10,
    in_channels: int = 3,
    bn_gamma: str | None = None,
) -> CifarResNet:
    """Build the CIFAR ResNet of `depth` = 6 D + 2 layers; arguments as in `impcore.models.build`.

    Raises:
        ValueError: a depth that is not 6 D + 2 with D >= 1, a stem other than "cifar", or an
            unknown `bn_gamma`.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth: {depth!r} is not 6 D + 2 with D >= 1 (14, 20, 32, 44, 56, ...)")
    if stem != "cifar":
        raise ValueError(f"stem: {stem!r}; the CIFAR family has only 'cifar'")
    gamma = "uniform" if bn_gamma is None else bn_gamma
    return CifarResNet(depth, num_classes=num_classes, in_channels=in_channels, bn_gamma=gamma)


def initialise(model: nn.Module, bn_gamma: str) -> None:
    """Draw all weights from PyTorch's global generator, as open_lth and ElasticLTH do.

    Conv2d and Linear weights: kaiming_normal with fan_in, i.e. N(0, 2 / fan_in) (He et al. 2015,
    eq. 10). BatchNorm: beta = 0; gamma ~ U(0, 1) for "uniform", their `batchnorm_init`, or 1 for
    "ones", as in He et al. 2016 and torchvision. Biases keep PyTorch's default, as theirs do.

    Raises:
        ValueError: `bn_gamma` is neither; nothing has been drawn.
    """
    if bn_gamma not in BN_GAMMAS:
        raise ValueError(f"bn_gamma: {bn_gamma!r} is not one of {', '.join(BN_GAMMAS)}")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d) and bn_gamma == "uniform":
            with torch.no_grad():
                module.weight.uniform_(0, 1)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
