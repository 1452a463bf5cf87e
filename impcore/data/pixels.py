"""The images of a split as they lie on the device: padded, and normalised once if they fit.

Invariant: whether they are held normalised or raw, and on whichever device, what comes out has the
same bits, because normalising is a look-up in one table of 256 values a channel.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from impcore import host_memory

HELD = ("auto", "normalised", "raw")

_PREPARED_AT_ONCE = 4096  # images; bounds the scratch memory of normalising
_log = logging.getLogger(__name__)


class HeldPixels:
    """Images [N, C, H, W] on `device`, with `padding` zero pixels around each.

    `held` says how: "normalised" in the table's dtype, or "raw" as uint8, normalised as batches
    are taken. "auto" chooses normalised if that needs at most half of the free memory of the
    device (of the host, for a CPU), else raw, and logs that as a warning.

    Args:
        images: uint8 [N, C, H, W].
        table: [C, 256], the input for each pixel value (`normalisation`).
        padding: zero pixels on each side, as raw pixels, so they are normalised like the others.
        device: where they are held.
        channels_last: hold and hand out [N, C, H, W] in channels_last layout.
        held: one of `HELD`.
    """

    def __init__(
        self,
        images: Tensor,
        table: Tensor,
        *,
        padding: int,
        device: torch.device,
        channels_last: bool,
        held: str,
    ) -> None:
        self._padding = padding
        self._channels_last = channels_last
        self._table = table.to(device)
        channels = torch.arange(len(table), device=device)
        # Without channels_last the channels are the last but two of an image's dimensions.
        self._channel = channels if channels_last else channels[:, None, None]
        self.held = _choose(held, images, padding, table.dtype, device)
        self._pixels = self._prepare(images, device)
        first, (height, width) = 1 if channels_last else 2, images.shape[2:]
        rows = self._pixels.narrow(first, padding, height)
        self._inside = rows.narrow(first + 1, padding, width)  # a view without the padding

    @property
    def image_bytes(self) -> int:
        """What an image takes as it is handed out."""
        return self._inside[:1].numel() * self._table.element_size()

    def take(self, order: Tensor) -> Tensor:
        """Return the images `order` (int64 [B]) unpadded, normalised: [B, C, H, W]."""
        return self._finish(self._inside.index_select(0, order))

    def between(self, start: int, stop: int) -> Tensor:
        """Return the images start..stop-1 unpadded, normalised: [stop - start, C, H, W]."""
        # A copy even where a view would do: whoever gets a batch may write into it.
        return self._finish(self._inside[start:stop].clone(memory_format=torch.contiguous_format))

    def gather(self, order: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return windows of the images `order`, normalised: [B, C, H, W].

        Pixel (i, j) of image b is the padded image's (rows[b, i], columns[b, j]); int64 [B, H] and
        [B, W]. One gather, whatever the windows are.
        """
        if self._channels_last:
            window = self._pixels[order[:, None, None], rows[:, :, None], columns[:, None, :]]
        else:
            at = (order[:, None, None, None], self._channel)
            window = self._pixels[(*at, rows[:, None, :, None], columns[:, None, None, :])]
        return self._finish(window)

    def _finish(self, pixels: Tensor) -> Tensor:
        if self.held == "raw":
            pixels = self._normalise(pixels)
        return pixels.permute(0, 3, 1, 2) if self._channels_last else pixels

    def _normalise(self, pixels: Tensor) -> Tensor:
        return self._table.take(pixels.long() + 256 * self._channel)

    def _prepare(self, images: Tensor, device: torch.device) -> Tensor:
        count, channels, height, width = images.shape
        height, width = height + 2 * self._padding, width + 2 * self._padding
        shape = (height, width, channels) if self._channels_last else (channels, height, width)
        dtype = torch.uint8 if self.held == "raw" else self._table.dtype
        prepared = torch.empty((count, *shape), dtype=dtype, device=device)
        for start in range(0, count, _PREPARED_AT_ONCE):
            chunk = images[start : start + _PREPARED_AT_ONCE].to(device)
            pixels = F.pad(chunk, [self._padding] * 4)
            pixels = pixels.permute(0, 2, 3, 1) if self._channels_last else pixels
            prepared[start : start + len(chunk)] = (
                pixels if self.held == "raw" else self._normalise(pixels)
            )
        return prepared


def normalisation(
    mean: Sequence[float], std: Sequence[float], scale: int, dtype: torch.dtype
) -> Tensor:
    """Return [C, 256] on the CPU: (pixel / scale - mean) / std in float64, rounded to `dtype`."""
    pixel = torch.arange(256, dtype=torch.float64) / scale
    m, s = (torch.tensor(values, dtype=torch.float64)[:, None] for values in (mean, std))
    return ((pixel - m) / s).to(dtype)


def _choose(
    held: str, images: Tensor, padding: int, dtype: torch.dtype, device: torch.device
) -> str:
    if held != "auto":
        return held
    count, channels, height, width = images.shape
    needed = count * channels * (height + 2 * padding) * (width + 2 * padding) * dtype.itemsize
    free = _free_bytes(device)
    if free is not None and needed <= free // 2:
        return "normalised"
    _log.warning(
        "%d bytes of normalised images are more than half of the free memory of %s (%s bytes): "
        "holding raw pixels, normalising batch by batch",
        *(needed, device, "an unknown number of" if free is None else free),
    )
    return "raw"


def _free_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return host_memory.free()
