"""Random windows of images of many sizes: what "random resized crop" cuts out of each.

Invariant: the windows of an epoch are a function of the generator and of the images' sizes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def random_windows(heights: Tensor, widths: Tensor, generator: torch.Generator) -> Tensor:
    """Return a window of each image, int64 [N, 4]: top, left, height, width.

    Of uniform area within `SCALE` of the image's, log-uniform ratio of width to height within
    `RATIO`, at a uniform place; after ten that do not fit, the largest in the middle whose ratio is
    within bounds. That is torchvision's RandomResizedCrop (Szegedy et al. 2015, section 6).

    Args:
        heights, widths: int64 [N], at least 1, on the CPU.
        generator: of the CPU.
    """
    height, width = _central(heights, widths)
    top, left = (heights - height) // 2, (widths - width) // 2
    found = torch.zeros(len(heights), dtype=torch.bool)
    area = (heights * widths).double()
    for _ in range(_TRIES):
        part, shape, down, right = torch.rand(
            (4, len(heights)), dtype=torch.float64, generator=generator
        )
        target = area * (SCALE[0] + (SCALE[1] - SCALE[0]) * part)
        low, high = map(math.log, RATIO)
        ratio = torch.exp(low + (high - low) * shape)
        w, h = (target * ratio).sqrt().round().long(), (target / ratio).sqrt().round().long()
        fits = ~found & (w > 0) & (w <= widths) & (h > 0) & (h <= heights)
        height, width = torch.where(fits, h, height), torch.where(fits, w, width)
        top = torch.where(fits, (down * (heights - h + 1)).long(), top)
        left = torch.where(fits, (right * (widths - w + 1)).long(), left)
        found |= fits
    return torch.stack((top, left, height, width), dim=1)


def central_windows(heights: Tensor, widths: Tensor, size: int) -> Tensor:
    """Return the middle [size, size] of each image, int64 [N, 4] as above.

    Placed as torchvision's CenterCrop does. No side may be shorter than `size`.
    """
    top = ((heights - size) / 2).round().long()
    left = ((widths - size) / 2).round().long()
    whole = torch.full_like(heights, size)
    return torch.stack((top, left, whole, whole), dim=1)


def _central(heights: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Height and width of the largest window whose ratio is within `RATIO`."""
    ratio = widths.double() / heights
    tall, wide = ratio < RATIO[0], ratio > RATIO[1]
    height = torch.where(tall, (widths / RATIO[0]).round().long(), heights)
    width = torch.where(wide, (heights * RATIO[1]).round().long(), widths)
    return height, width
