"""Images that lie decoded on disk, as batches take them: read ahead, cropped and resized.

Invariant: what comes out has the same bits on every device and in whatever order batches are read:
windows are drawn on the CPU, for a whole epoch at once, and resizing is integer arithmetic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from impcore.data.image_cache import Store
from impcore.data.resample import resize_windows, taps_of
from impcore.data.source import Preparation
from impcore.data.transfer import to_device
from impcore.data.windows import central_windows, random_windows

if TYPE_CHECKING:
    from hashlib import _Hash

AUGMENTATIONS = ("none", "resized_crop")

_AHEAD = 4  # batches that are read while one is used, each by a thread of its own


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """Images of one shorter side in a `Store`, and their labels.

    Attributes:
        store: the decoded images; shared by splits.
        index: int64 [N], which of them are the split's.
        labels: int64 [N].
        size: pixels of a side of what batches hold; at most the images' shorter side.
    """

    augmentations: ClassVar[tuple[str, ...]] = AUGMENTATIONS
    store: Store
    index: Tensor
    labels: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W] of the images as batches have them."""
        return (3, self.size, self.size)

    def source(self, preparation: Preparation) -> StoredImages:
        """Return the images as batches take them."""
        if preparation.held == "normalised":
            raise ValueError("held: 'normalised', but the images of a folder stay on disk")
        return StoredImages(self, preparation)

    def hold_out(self, count: int) -> tuple[StoredSplit, StoredSplit]:
        """Return what is left without `count` images spread evenly over the split, and these.

        Folders are read class by class, so each class gives its share.
        """
        out = torch.zeros(len(self), dtype=torch.bool)
        out[torch.arange(count) * len(self) // count] = True
        return (
            replace(self, index=self.index[~out], labels=self.labels[~out]),
            replace(self, index=self.index[out], labels=self.labels[out]),
        )

    def feed(self, digest: _Hash) -> None:
        """Add size, pixels (as hashed when they were decoded), choice and labels to a hash."""
        digest.update(f"{self.size} {self.store.digest}".encode())
        for tensor in (self.index, self.labels):
            digest.update(tensor.contiguous().numpy().data)


class StoredImages:
    """The images of a `StoredSplit`; a `impcore.data.source.Source`.

    "resized_crop" cuts a random window out of each image (`impcore.data.windows`), resizes it and
    mirrors half of them left to right; "none", like evaluation, takes the middle.
    """

    held = "stored"

    def __init__(self, split: StoredSplit, preparation: Preparation) -> None:
        self._split = split
        self._preparation = preparation
        self._table = preparation.table.to(preparation.device)
        self._channels = 256 * torch.arange(3, device=preparation.device)
        store, chosen = split.store, split.index
        self._heights = torch.from_numpy(store.heights)[chosen]
        self._widths = torch.from_numpy(store.widths)[chosen]

    def training(
        self, order: Tensor, generator: torch.Generator, parts: Sequence[slice]
    ) -> Iterator[Tensor]:
        """Return the images order[part] for each part, augmented."""
        heights, widths = self._heights[order], self._widths[order]
        if self._preparation.augment == "none":
            yield from self._cut(order, central_windows(heights, widths, self._split.size), parts)
            return
        windows = random_windows(heights, widths, generator)
        mirrored = torch.randint(2, (len(order),), generator=generator) == 1
        read = _ahead(lambda part: self._read(order[part], windows[part]), parts)
        for part, pixels in zip(parts, read, strict=True):
            yield self._finish(self._resize(pixels, windows[part], mirrored[part]))

    def in_order(self, parts: Sequence[slice]) -> Iterator[Tensor]:
        """Return the images of each part of the split's own order, without augmentation."""
        order = torch.arange(len(self._split))
        windows = central_windows(self._heights, self._widths, self._split.size)
        return self._cut(order, windows, parts)

    def _cut(self, order: Tensor, windows: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        for pixels in _ahead(lambda part: self._read(order[part], windows[part]), parts):
            yield self._finish(pixels.to(self._preparation.device, non_blocking=True))

    def _read(self, order: Tensor, windows: Tensor) -> Tensor:
        """The windows' pixels, uint8 [B, H, W, 3] on the host, in the corner of the largest."""
        tall, wide = windows[:, 2:].max(dim=0).values.tolist()
        pinned = self._preparation.device.type == "cuda"
        pixels = torch.empty((len(order), tall, wide, 3), dtype=torch.uint8, pin_memory=pinned)
        into: np.ndarray = pixels.numpy()
        images = self._split.index[order].tolist()
        for place, (image, window) in enumerate(zip(images, windows.tolist(), strict=True)):
            top, left, height, width = window
            found = self._split.store.image(image)
            into[place, :height, :width] = found[top : top + height, left : left + width]
        return pixels

    def _resize(self, pixels: Tensor, windows: Tensor, mirrored: Tensor) -> Tensor:
        device, size = self._preparation.device, self._split.size
        taps = (taps_of(pixels.shape[1], size), taps_of(pixels.shape[2], size))
        return resize_windows(
            pixels.to(device, non_blocking=True),
            to_device(windows[:, 2:].contiguous(), device),
            size,
            taps,
            to_device(mirrored, device),
        )

    def _finish(self, pixels: Tensor) -> Tensor:
        """Normalise uint8 [B, H, W, 3] to [B, 3, H, W] in the layout asked for."""
        images = self._table.take(pixels.long() + self._channels).permute(0, 3, 1, 2)
        return images if self._preparation.channels_last else images.contiguous()


def _ahead(read: Callable[[slice], Tensor], parts: Sequence[slice]) -> Iterator[Tensor]:
    """What `read` returns for each part, in order, the next few being read meanwhile."""
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="impcore-read")
    reading: deque[Future[Tensor]] = deque()
    try:
        for part in parts:
            reading.append(pool.submit(read, part))
            if len(reading) > _AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
