"""What a split's images are to the batches made of them, wherever the images lie.

Invariant: a training image is a function of its place in the order, of the epoch's generator and
of the data alone; it does not matter which other images are asked for, or in how many batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preparation:
    """How a split's images are made into inputs.

    Attributes:
        table: [C, 256], the input for each pixel value (`impcore.data.pixels.normalisation`).
        device: where inputs are made.
        channels_last: hand out [B, C, H, W] in channels_last layout.
        augment: one of the split's `augmentations`; training images only.
        padding: pixels of zero padding that a random crop moves within.
        held: "auto", "normalised" or "raw"; see `impcore.data.DeviceBatches`.
    """

    table: Tensor
    device: torch.device
    channels_last: bool = False
    augment: str = "none"
    padding: int = 0
    held: str = "auto"


class Source(Protocol):
    """The images of one split, ready to be handed out in batches [B, C, H, W] on the device."""

    @property
    def held(self) -> str:
        """How they are held: "normalised", "raw", or "stored" on disk."""
        ...

    def training(
        self, order: Tensor, generator: torch.Generator, parts: Sequence[slice]
    ) -> Iterator[Tensor]:
        """Return the images order[part] for each part, augmented.

        Args:
            order: int64 [N] on the CPU, the epoch's order of the N images.
            generator: gives all other random choices of the epoch, for all of `order`.
            parts: slices of `order`, of step 1.
        """
        ...

    def in_order(self, parts: Sequence[slice]) -> Iterator[Tensor]:
        """Return the images of each part of the split's own order, without augmentation."""
        ...
