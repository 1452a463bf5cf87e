"""Images that lie on the device, as batches take them: cropped and mirrored by one gather.

Invariant: what comes out has the same bits on every device, because all random choices are drawn on
the CPU and nothing is computed but indices and a look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from impcore.data.pixels import HeldPixels
from impcore.data.source import Preparation
from impcore.data.transfer import to_device

AUGMENTATIONS = ("none", "crop", "flip_crop")
_TOGETHER = 2**20  # bytes; small batches are cut out of one gather of so much
_ALIGNED = 64  # bytes, as torch allocates: what is computed of a batch may depend on it


class HeldImages:
    """The images [N, C, H, W] of a split on the device; a `impcore.data.source.Source`.

    "crop" takes a uniformly random window of the padded image; "flip_crop" also mirrors half of
    the images left to right.
    """

    def __init__(self, images: Tensor, preparation: Preparation) -> None:
        self._size = images.shape[2:]
        self._device, self._augment = preparation.device, preparation.augment
        self._padding = preparation.padding if self._augment != "none" else 0
        self._pixels = HeldPixels(
            images,
            preparation.table,
            padding=self._padding,
            device=self._device,
            channels_last=preparation.channels_last,
            held=preparation.held,
        )

    @property
    def held(self) -> str:
        """How they are held: "normalised" or "raw"."""
        return self._pixels.held

    def training(
        self, order: Tensor, generator: torch.Generator, parts: Sequence[slice]
    ) -> Iterator[Tensor]:
        """Return the images order[part] for each part, augmented."""
        windows = self._windows(len(order), generator)
        order = to_device(order, self._device)
        for some in self._together(parts):
            whole = slice(some[0].start, some[-1].stop)
            if windows is None:
                images = self._pixels.take(order[whole])
            else:
                rows, columns = windows
                images = self._pixels.gather(order[whole], rows[whole], columns[whole])
            # By `data` each has a version of its own: writing into one does not touch the others.
            yield from [images[p.start - whole.start : p.stop - whole.start].data for p in some]

    def _together(self, parts: Sequence[slice]) -> Iterator[Sequence[slice]]:
        """The parts, in runs that follow one another in the order and are gathered at once.

        Amid the work of a training step, which leaves nothing of it in the cache, a gather takes
        ten times as long as the copying in it.
        """
        image, start = self._pixels.image_bytes, 0
        for end in range(1, len(parts) + 1):
            size = (parts[end - 1].stop - parts[start].start) * image
            if (
                end < len(parts)
                and parts[end].start == parts[end - 1].stop
                and size % _ALIGNED == 0
                and (parts[end].stop - parts[start].start) * image <= _TOGETHER
            ):
                continue
            yield parts[start:end]
            start = end

    def in_order(self, parts: Sequence[slice]) -> Iterator[Tensor]:
        """Return the images of each part of the split's own order, without augmentation."""
        for part in parts:
            yield self._pixels.between(part.start, part.stop)

    def _windows(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """Rows [count, H] and columns [count, W] of the padded image that are cut out of each."""
        if self._augment == "none":
            return None
        corners = torch.randint(2 * self._padding + 1, (2, count, 1), generator=generator)
        row, column = to_device(corners, self._device)
        rows, columns = (torch.arange(n, device=self._device) for n in self._size)
        if self._augment == "flip_crop":
            drawn = torch.randint(2, (count, 1), generator=generator)
            columns = torch.where(to_device(drawn, self._device) == 1, columns.flip(0), columns)
        return row + rows, column + columns
