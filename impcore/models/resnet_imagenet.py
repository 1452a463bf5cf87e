"""torchvision's family of residual networks, with its own stem or that for small images.

Invariant: parameter names and shapes are torchvision's, whose checkpoints therefore fit; the small
stem differs in the shape of conv1.weight alone.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from impcore.models.residual import (
    BasicBlock,
    Block,
    Bottleneck,
    ResNet,
    check_bn_gamma,
    initialise,
)
from impcore.models.stems import STEMS

WIDTHS = (64, 128, 256, 512)

LAYOUTS: dict[int, tuple[type[Block], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    26: (BasicBlock, (2, 3, 4, 3)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Depth → kind of block, and blocks in each stage (He et al. 2016, table 1).

ResNet-26, which the table lacks, is that of Elastic Lottery Tickets (Chen et al. 2021), read in
their code (models/imagenet_resnet.py): basic blocks, between ResNet-18 and ResNet-34. It is not
timm's resnet26, which has bottlenecks.
"""


class ImageNetResNet(ResNet):
    """torchvision's ResNet: stem, four stages of blocks, global average pooling, one linear layer.

    The "imagenet" stem is a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2. The "cifar"
    stem is a 3x3 convolution of stride 1 and no pool (CV_LTH_Pre-training, for 32x32 images).
    """

    def __init__(
        self, depth: int, *, stem: str, num_classes: int, in_channels: int, bn_gamma: str
    ) -> None:
        super().__init__()
        block, counts = LAYOUTS[depth]
        small = stem == "cifar"
        self.conv1 = nn.Conv2d(
            in_channels,
            WIDTHS[0],
            kernel_size=3 if small else 7,
            stride=1 if small else 2,
            padding=1 if small else 3,
            bias=False,
        )
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        self.fc = nn.Linear(self.add_stages(block, counts, WIDTHS), num_classes)
        initialise(self, _draw, bn_gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return cast(Tensor, self.fc(self.features(x)))


def imagenet_resnet(
    depth: int,
    *,
    stem: str = "cifar",
    num_classes: int = 10,
    in_channels: int = 3,
    bn_gamma: str | None = None,
) -> ImageNetResNet:
    """Build torchvision's ResNet of `depth` layers; arguments as in `impcore.models.build`.

    Raises:
        ValueError: a depth that is not in `LAYOUTS`, an unknown stem or `bn_gamma`.
    """
    if depth not in LAYOUTS:
        raise ValueError(f"depth: {depth!r} is not one of {', '.join(map(str, LAYOUTS))}")
    if stem not in STEMS:
        raise ValueError(f"stem: {stem!r} is not one of {', '.join(STEMS)}")
    gamma = "ones" if bn_gamma is None else bn_gamma
    check_bn_gamma(gamma)
    return ImageNetResNet(
        depth, stem=stem, num_classes=num_classes, in_channels=in_channels, bn_gamma=gamma
    )


def _draw(module: nn.Module) -> None:
    """Draw weights as torchvision and CV_LTH_Pre-training do; with `initialise`, all of them.

    Conv2d weights: kaiming_normal with fan_out, i.e. N(0, 2 / fan_out) (He et al. 2015, section
    2.2). fc keeps PyTorch's default. Their BatchNorm scales are "ones".
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
