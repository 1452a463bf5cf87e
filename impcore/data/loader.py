"""Batches of a split that live on the device: prepared once, shuffled and augmented there.

Invariant: a training batch is a function of (seed, epoch, step) and the data alone. Starting at any
step of any epoch gives the very bits that an uninterrupted pass gives, on every device.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from impcore.data.dataset import AnySplit, Dataset
from impcore.data.order import (
    WHOLE,
    Share,
    batch_starts,
    check_int,
    check_place,
    epoch_generator,
    to_device,
)
from impcore.data.pixels import HELD, normalisation
from impcore.data.source import Preparation
from impcore.data.truth import Truth
from impcore.errors import DataError


class DeviceBatches:
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
        check_int("batch_size", batch_size, 1)
        check_int("crop_padding", padding, 0)
        check_int("seed", seed, None)
        _check_name("augment", augment, split.augmentations)
        _check_name("held", held, HELD)
        if not dtype.is_floating_point:
            raise ValueError(f"dtype: {dtype} is not a floating type")
        if memory_format not in (torch.contiguous_format, torch.channels_last):
            raise ValueError(f"memory_format: {memory_format}: contiguous_format or channels_last")
        if len(split) == 0:
            raise DataError("split: empty, there is nothing to make batches of")
        if len(split) < share.ranks:
            raise DataError(f"split: {len(split)} images are not one for each of {share.ranks}")
        if drop_last and len(split) < batch_size:
            raise DataError(f"batch_size: {batch_size} and drop_last leave none of {len(split)}")
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self.device = torch.device(device)
        self._count = len(split)
        self._share = share
        self._starts = batch_starts(self._count, batch_size, drop_last, share)
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

    def __len__(self) -> int:
        return self._count

    @property
    def steps_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        return len(self._starts) - 1

    @property
    def held(self) -> str:
        """How the images are held: "normalised", "raw", or "stored" on disk."""
        return self._images.held

    def weight(self, epoch: int, steps: range) -> float:
        """What the mean loss of batches of `epoch` is to be multiplied by; see `order.Share`."""
        return self._share.weight(self._starts, steps)

    def epoch(
        self, epoch: int, start_step: int = 0, *, whole: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the training batches of `epoch` from `start_step` on, shuffled and augmented.

        Args:
            epoch: counted from 0; each has its own order and augmentation.
            start_step: 0 to `steps_per_epoch` (which gives none): where a resumed run goes on.
            whole: in every process the whole batches, not its shares of them.

        Raises:
            ValueError: either is no such integer.
        """
        check_place(epoch, start_step, self.steps_per_epoch)
        return self._train(epoch, start_step, WHOLE if whole else self._share)

    def eval_batches(self, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Return all images once, in the order of the split, without augmentation.

        Several processes are dealt these batches in turn.

        Args:
            batch_size: at least 1; None takes that of training. The last batch may be smaller.

        Raises:
            ValueError: no such integer.
        """
        size = self.batch_size if batch_size is None else batch_size
        check_int("batch_size", size, 1)
        return self._in_order(size)

    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(self.seed, epoch)
        order = torch.randperm(self._count, generator=generator)
        parts = share.parts(self._starts, range(start_step, self.steps_per_epoch))
        images = self._images.training(order, generator, parts)
        labels = self._labels.index_select(0, to_device(order, self.device))
        yield from zip(images, [labels[part] for part in parts], strict=True)

    def _in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        starts = self._share.turns(self._count, size)
        parts = [slice(start, min(start + size, self._count)) for start in starts]
        for part, batch in zip(parts, self._images.in_order(parts), strict=True):
            yield batch, self._labels[part].clone()


def _check_name(field: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, n=1)
        hint = f" (nearest: {near[0]!r})" if near else ""
        raise ValueError(f"{field}: no {field} {value!r}{hint}; valid: {', '.join(valid)}")
