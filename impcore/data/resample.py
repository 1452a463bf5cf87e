"""Resize windows of many images at once on the device, as Pillow resizes one.

Invariant: the result is that of Pillow's Image.crop and Image.resize (bilinear, antialiased), width
first, to the bit, on every device: coefficients are the same float64 operations in the same order,
rounded to the same 22 bits, and pixels are summed as integers. (Since version 13 Pillow resizes
the height of some tall images first, which may change a byte by 1.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BITS = 22  # of a coefficient's fraction, in Pillow's src/libImaging/Resample.c
_AT_ONCE = 128  # images; bounds the scratch memory: 0.4 GB for 341x341 to 224x224


def resize_windows(
    windows: Tensor, sizes: Tensor, size: int, taps: tuple[int, int], mirrored: Tensor
) -> Tensor:
    """Resize each window to [size, size].

    Args:
        windows: uint8 [B, H, W, C]; window b is windows[b, :height, :width].
        sizes: int64 [B, 2], the height and width of each window, at least 1, on the same device.
        size: pixels of a side of the result.
        taps: `taps_of` of the largest height and of the largest width, or more.
        mirrored: bool [B]: mirror the result left to right.

    Returns:
        uint8 [B, size, size, C]: rows are shortened first and rounded to bytes, then columns.
    """
    if len(windows) > _AT_ONCE:
        starts = range(0, len(windows), _AT_ONCE)
        slices = [slice(start, start + _AT_ONCE) for start in starts]
        parts = ((windows[one], sizes[one], mirrored[one]) for one in slices)
        return torch.cat([resize_windows(w, s, size, taps, m) for w, s, m in parts])
    places, weights = _coefficients(sizes[:, 1], size, taps[1])
    flip = mirrored[:, None, None]
    places = torch.where(flip, places.flip(1), places)
    weights = torch.where(flip, weights.flip(1), weights)
    narrow = _apply(windows, 2, places, weights)
    return _apply(narrow, 1, *_coefficients(sizes[:, 0], size, taps[0]))


def taps_of(length: int, size: int) -> int:
    """How many pixels, at most, a pixel is made of when `length` pixels become `size`."""
    return 2 * math.ceil(max(length / size, 1.0)) + 1


def _coefficients(lengths: Tensor, size: int, taps: int) -> tuple[Tensor, Tensor]:
    """Which pixels make up each of `size` pixels (int64 [B, size, taps]), with which int32 weights.

    precompute_coeffs and normalize_coeffs_8bpc of Pillow for the triangle filter of support 1; what
    is beyond an edge has weight 0.
    """
    lengths = lengths[:, None].to(torch.float64)
    # Not `lengths / size`: for a number, CUDA multiplies by its reciprocal, which may differ.
    scale = lengths / torch.full_like(lengths, size)
    stretch = scale.clamp(min=1.0)
    out = torch.arange(size, dtype=torch.float64, device=lengths.device)
    centre = (out + 0.5) * scale
    first = (centre - stretch + 0.5).long().clamp(min=0)
    end = torch.minimum((centre + stretch + 0.5).long(), lengths.long())
    places = first[:, :, None] + torch.arange(taps, device=lengths.device)
    inverse = (1.0 / stretch)[:, :, None]
    distance = (places - centre[:, :, None] + 0.5) * inverse
    triangle = (1.0 - distance.abs()).clamp(min=0.0)
    triangle = torch.where(places < end[:, :, None], triangle, 0.0)
    total = triangle[:, :, 0]
    for tap in range(1, taps):  # in Pillow's order: a sum's last bit depends on it
        total = total + triangle[:, :, tap]
    weights = (0.5 + triangle / total[:, :, None] * (1 << _BITS)).to(torch.int32)
    return torch.minimum(places, end[:, :, None] - 1), weights


def _apply(pixels: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """Replace the pixels along `axis` (1 or 2) of [B, H, W, C] by weighted sums of them."""
    batch, size, taps = places.shape
    shape = list(pixels.shape)
    shape[axis] = size
    broadcast = [batch, 1, 1, 1]
    broadcast[axis] = size
    total = torch.full(shape, 1 << (_BITS - 1), dtype=torch.int32, device=pixels.device)
    for tap in range(taps):
        place = places[:, :, tap].reshape(broadcast).expand(shape)
        total.addcmul_(pixels.gather(axis, place).int(), weights[:, :, tap].reshape(broadcast))
    return (total >> _BITS).clamp(0, 255).to(torch.uint8)
