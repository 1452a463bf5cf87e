"""Batches of a split that live on the device: prepared once, shuffled and augmented there.

Invariant: a training batch is a function of (seed, epoch, step) and the data alone. Starting at any
step of any epoch gives the very bits that an uninterrupted pass gives, on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from impcore.data.dataset import AnySplit, Dataset
from impcore.data.pixels import HELD, normalisation
from impcore.data.share import WHOLE, Share
from impcore.data.shuffled import ShuffledBatches
from impcore.data.source import Preparation
from impcore.data.transfer import to_device
from impcore.data.truth import Truth
from impcore.integers import checked
from impcore.nearest import nearest


class DeviceBatches(ShuffledBatches[Tensor]):
    """Batches (x [B, C, H, W] of `dtype`, y int64 [B]) of one split, on one device; all copies.

    `augment="crop"` pads the raw image with zero pixels, as torchvision's RandomCrop does before
    normalising, and takes a uniformly random window of the original size; "flip_crop" also
    mirrors half of the images left to right (He et al. 2016, section 4.2). Both are one gather.
    Image folders have "resized_crop" instead; see `impcore.data.stored_images`.

    The images are held normalised in `dtype` if that takes at most half of the free memory of the
    device, else raw as uint8 and normalised batch by batch, which is logged as a warning; `held`
    says which ("normalised" or "raw"), and asking for one forces it. The bits are the same.

    The last batch of an epoch is smaller where the batch size does not divide the images, and all
    images are seen. A remainder of one image joins the batch before it, because BatchNorm cannot
    train on a single value. `drop_last` drops any remainder instead.

    Args:
        split: the images; `dataset.train` as a rule.
        dataset: gives mean, std, scale and the default `crop_padding`.
        batch_size: at least 1.
        device: where images are held and batches are made.
        dtype: a floating type.
        memory_format: torch.contiguous_format or torch.channels_last.
        augment: one of the split's `augmentations`; applies to `epoch`, never to `eval_batches`.
        crop_padding: pixels; None takes the data set's.
        seed: any integer.
        drop_last: leave out an incomplete last batch.
        held: "auto", "normalised" or "raw".
        share: what this process takes of each training batch, and of the batches of evaluation.

    Raises:
        DataError: the split is empty, or smaller than one batch with `drop_last`, or than the
            number of shares.
        ValueError: another argument is not as above; the message names and quotes it.
    """

    truth = Truth()

    def __init__(
        self,
        split: AnySplit,
        dataset: Dataset[Any],
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        augment: str = "none",
        crop_padding: int | None = None,
        seed: int = 0,
        drop_last: bool = False,
        held: str = "auto",
        share: Share = WHOLE,
    ) -> None:
        padding = dataset.crop_padding if crop_padding is None else crop_padding
        padding = checked("crop_padding", padding, 0)
        _check_name("augment", augment, split.augmentations)
        _check_name("held", held, HELD)
        if not dtype.is_floating_point:
            raise ValueError(f"dtype: {dtype} is not a floating type")
        if memory_format not in (torch.contiguous_format, torch.channels_last):
            raise ValueError(f"memory_format: {memory_format}: contiguous_format or channels_last")
        super().__init__(
            len(split),
            batch_size=batch_size,
            device=device,
            seed=seed,
            drop_last=drop_last,
            share=share,
        )
        self.augment = augment
        self._labels = split.labels.to(self.device)
        self._images = split.source(
            Preparation(
                normalisation(dataset.mean, dataset.std, dataset.scale, dtype),
                self.device,
                channels_last=memory_format == torch.channels_last,
                augment=augment,
                padding=padding,
                held=held,
            )
        )

    @property
    def held(self) -> str:
        """How the images are held: "normalised", "raw", or "stored" on disk."""
        return self._images.held

    def weight(self, epoch: int, steps: range) -> float:
        """What the mean loss of batches of `epoch` is to be multiplied by; see `share.Share`."""
        return self._share.weight(self._starts, steps)

    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
        order, generator = self._shuffled(epoch)
        parts = share.parts(self._starts, range(start_step, self.steps_per_epoch))
        images = self._images.training(order, generator, parts)
        labels = self._labels.index_select(0, to_device(order, self.device))
        yield from zip(images, [labels[part] for part in parts], strict=True)

    def _in_order(self, parts: list[slice]) -> Iterator[tuple[Tensor, Tensor]]:
        for part, batch in zip(parts, self._images.in_order(parts), strict=True):
            yield batch, self._labels[part].clone()


def _check_name(field: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        hint = nearest(value, valid)
        raise ValueError(f"{field}: no {field} {value!r}{hint}; valid: {', '.join(valid)}")
