"""A data set: raw uint8 images, in host memory as a rule, labels, and how pixels are normalised.

Invariant: a `Dataset` is consistent (shapes, types, labels in range) from the moment it exists,
and its fingerprint changes whenever anything that training sees of it changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self

import torch
from torch import Tensor
from typing_extensions import TypeVar

from impcore.data.held_images import AUGMENTATIONS, HeldImages
from impcore.data.source import Preparation, Source
from impcore.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash


class AnySplit(Protocol):
    """Images and their labels, wherever the images lie."""

    augmentations: ClassVar[tuple[str, ...]]
    """What can be done to training images."""

    @property
    def labels(self) -> Tensor:
        """int64 [N] on the CPU, classes counted from 0."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W] of the images as batches have them."""
        ...

    def __len__(self) -> int: ...

    def source(self, preparation: Preparation) -> Source:
        """Return the images as batches take them."""
        ...

    def hold_out(self, count: int) -> tuple[Self, Self]:
        """Return what is left without `count` images, 0 < count < N, and these."""
        ...

    def feed(self, digest: _Hash) -> None:
        """Add all that training can see of the split to a hash."""
        ...


S = TypeVar("S", bound=AnySplit, default="Split")


@dataclass(frozen=True, eq=False)
class Split:
    """Images in host memory and their labels.

    Attributes:
        images: uint8 [N, C, H, W], raw pixels of 0 to `Dataset.scale`.
        labels: int64 [N], classes counted from 0.

    Raises:
        DataError: another dtype or shape; the message quotes it.
    """

    augmentations: ClassVar[tuple[str, ...]] = AUGMENTATIONS
    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise DataError(
                f"images: uint8 [N, C, H, W] is needed, not {images.dtype} {list(images.shape)}"
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"labels: int64 [{len(images)}] is needed beside {len(images)} images, not "
                f"{labels.dtype} {list(labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W] of the images."""
        return tuple(self.images.shape[1:])

    def source(self, preparation: Preparation) -> Source:
        """Return the images on the device of `preparation`."""
        return HeldImages(self.images, preparation)

    def hold_out(self, count: int) -> tuple[Split, Split]:
        """Return the first images, and the last `count`, as CV_LTH_Pre-training divides them."""
        return (
            Split(self.images[:-count], self.labels[:-count]),
            Split(self.images[-count:], self.labels[-count:]),
        )

    def feed(self, digest: _Hash) -> None:
        """Add shape, images and labels to a hash."""
        digest.update(json.dumps(list(self.images.shape)).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().cpu().numpy().data)


@dataclass(frozen=True, eq=False)
class Dataset(Generic[S]):
    """A training and a test split, and the constants that turn pixels into inputs.

    An input is (pixel / scale - mean) / std, per channel.

    Attributes:
        name: the name it was loaded under.
        train, test: the splits; images of the same shape [C, H, W].
        num_classes: labels are 0 to num_classes - 1.
        mean, std: per channel, in units of `scale`; std is positive.
        scale: the pixel value of full intensity: 255, or 16 for the digits.
        crop_padding: pixels of zero padding that a random crop moves within, by default.
        validation: images held out of the training split (`hold_out`), or None.

    Raises:
        DataError: the parts do not fit together.
    """

    name: str
    train: S
    test: S
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: int = 255
    crop_padding: int = 4
    validation: S | None = None
    task: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        shape = self.train.shape
        if self.test.shape != shape:
            raise DataError(
                f"{self.name}: training images are {list(shape)}, test images "
                f"{list(self.test.shape)}"
            )
        if not len(self.mean) == len(self.std) == shape[0] or min(self.std) <= 0:
            raise DataError(
                f"{self.name}: mean {self.mean} and std {self.std} must give one number a channel "
                f"({shape[0]}), std positive"
            )
        for part, split in (("train", self.train), ("test", self.test)):
            if len(split) == 0:
                raise DataError(f"{self.name}: the {part} split is empty")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.num_classes:
                raise DataError(
                    f"{self.name}: {part} labels span {low} to {high}, outside 0 to "
                    f"{self.num_classes - 1}"
                )

    def hold_out(self, count: int) -> Dataset[S]:
        """Return the data set with `count` training images as its validation split.

        Which images those are, the split says: the last ones of a split in memory.

        Raises:
            DataError: not more than `count` training images; nothing would be left to train on.
        """
        if not 0 < count < len(self.train):
            raise DataError(
                f"{self.name}: {count} images cannot be held out of {len(self.train)} for "
                f"validation; should be 1 to {len(self.train) - 1}"
            )
        train, validation = self.train.hold_out(count)
        return replace(self, train=train, validation=validation)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of all splits and the constants of normalisation, not of the name.

        A resumed run compares it and refuses another data set.
        """
        digest = hashlib.sha256()
        constants = [self.num_classes, self.scale, self.mean, self.std]
        digest.update(json.dumps(constants).encode())
        for split in (self.train, self.test, self.validation):
            if split is not None:
                split.feed(digest)
        return digest.hexdigest()
