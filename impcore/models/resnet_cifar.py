"""The CIFAR family of residual networks: ResNet-14 to 56.

Invariant: parameter names are torchvision's; see `impcore.models.residual`.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from impcore.models.residual import BasicBlock, ResNet, check_bn_gamma, initialise

WIDTHS = (16, 32, 64)


class CifarResNet(ResNet):
    """The CIFAR ResNet of He et al. 2016, section 4.2, in the variant of Elastic Lottery Tickets.

    A 3x3 stem, three stages of (depth - 2)/6 basic blocks of 16, 32 and 64 channels, global
    average pooling and one linear layer. Unlike He et al., and like Chen et al. 2021 (ElasticLTH)
    and open_lth, the first block of stages 2 and 3 has a 1x1 convolution with BatchNorm as its
    shortcut. Takes any input of at least 1x1 pixels: 8x8 digits as well as 32x32 images.
    """

    def __init__(self, depth: int, *, num_classes: int, in_channels: int, bn_gamma: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        channels = self.add_stages(BasicBlock, [(depth - 2) // 6] * 3, WIDTHS)
        self.fc = nn.Linear(channels, num_classes)
        initialise(self, _draw, bn_gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        return cast(Tensor, self.fc(self.features(F.relu(self.bn1(self.conv1(x)), inplace=True))))


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
        raise ValueError(f"stem: {stem!r} is not a stem of the CIFAR family; valid: cifar")
    gamma = "uniform" if bn_gamma is None else bn_gamma
    check_bn_gamma(gamma)
    return CifarResNet(depth, num_classes=num_classes, in_channels=in_channels, bn_gamma=gamma)


def _draw(module: nn.Module) -> None:
    """Draw weights as open_lth and ElasticLTH do; with `initialise`, all that they draw.

    Conv2d and Linear weights: kaiming_normal with fan_in, i.e. N(0, 2 / fan_in) (He et al. 2015,
    eq. 10). Biases keep PyTorch's default, as theirs do. Their `batchnorm_init` is "uniform".
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
