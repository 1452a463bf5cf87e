"""A data set in host memory: raw uint8 images, labels, and how pixels are normalised.

Invariant: a `Dataset` is consistent (shapes, types, labels in range) from the moment it exists,
and its fingerprint changes whenever anything that training sees of it changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from impcore.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 [N, C, H, W], raw pixels of 0 to `Dataset.scale`.
        labels: int64 [N], classes counted from 0.

    Raises:
        DataError: another dtype or shape; the message quotes it.
    """

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


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and the constants that turn pixels into inputs.

    An input is (pixel / scale - mean) / std, per channel.

    Attributes:
        name: the name it was loaded under.
        train, test: the splits; images of the same shape [C, H, W].
        num_classes: labels are 0 to num_classes - 1.
        mean, std: per channel, in units of `scale`; std is positive.
        scale: the pixel value of full intensity: 255, or 16 for the digits.
        crop_padding: pixels of zero padding that a random crop moves within, by default.

    Raises:
        DataError: the parts do not fit together.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: int = 255
    crop_padding: int = 4

    def __post_init__(self) -> None:
        shape = self.train.images.shape[1:]
        if self.test.images.shape[1:] != shape:
            raise DataError(
                f"{self.name}: training images are {list(shape)}, test images "
                f"{list(self.test.images.shape[1:])}"
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of both splits and the constants of normalisation, not of the name.

        A resumed run compares it and refuses another data set.
        """
        digest = hashlib.sha256()
        constants = [self.num_classes, self.scale, self.mean, self.std]
        digest.update(json.dumps(constants).encode())
        for split in (self.train, self.test):
            digest.update(json.dumps(list(split.images.shape)).encode())
            for tensor in (split.images, split.labels):
                digest.update(tensor.contiguous().cpu().numpy().data)
        return digest.hexdigest()
