"""The networks that the experiments prune, by name; each says what its blocks are.

Invariant: `ARCHITECTURES` is the only list of names, and importing this module does not import
PyTorch, so a recipe's `model.arch` can be checked before anything heavy is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from impcore.models.blocks import HasBlocks, blocks_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "STEMS", "HasBlocks", "blocks_of", "build"]

STEMS = ("cifar",)
"""The stems that some architecture takes: "cifar" is a 3x3 convolution with stride 1, no pool."""


def _cifar_resnet(depth: int, **options: object) -> nn.Module:
    from impcore.models import resnet

    return resnet.cifar_resnet(depth, **options)  # type: ignore[arg-type]


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    f"resnet{depth}": partial(_cifar_resnet, depth) for depth in (14, 20, 32, 44, 56)
}
"""Name → builder, called with the keywords of `build`. A new network is one more entry."""


def build(
    arch: str,
    *,
    stem: str = "cifar",
    num_classes: int = 10,
    in_channels: int = 3,
    bn_gamma: str | None = None,
) -> nn.Module:
    """Make the network `arch` on the CPU in float32, freshly initialised.

    All random numbers come from PyTorch's global CPU generator: seed it first
    (`torch.manual_seed`) and the same call gives the same weights, bit for bit.

    Args:
        arch: a key of `ARCHITECTURES`.
        stem: one of `STEMS`; the CIFAR family has only "cifar".
        num_classes: width of the output, at least 1.
        in_channels: channels of the input images, at least 1.
        bn_gamma: "uniform" draws the BatchNorm scales from U(0, 1), "ones" sets them to 1;
            None takes the architecture's published choice (the CIFAR family: "uniform").

    Returns:
        A module from images [N, in_channels, H, W] to logits [N, num_classes].

    Raises:
        ValueError: an argument is not one of the values above; the message quotes it.
    """
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        near = difflib.get_close_matches(str(arch), ARCHITECTURES, n=1)
        hint = f" (nearest: {near[0]!r})" if near else ""
        raise ValueError(f"arch: no architecture {arch!r}{hint}; valid: {', '.join(ARCHITECTURES)}")
    if stem not in STEMS:
        raise ValueError(f"stem: {stem!r} is not a stem of {arch}; valid: {', '.join(STEMS)}")
    for field, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{field}: {value!r} is not an integer of at least 1")
    return ARCHITECTURES[arch](
        stem=stem, num_classes=num_classes, in_channels=in_channels, bn_gamma=bn_gamma
    )
