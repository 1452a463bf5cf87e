"""Other tasks over the digits' images: their parity, their orientation, and digits under noise.

Invariant: each is a function of the digits alone, in integers and without a draw that depends on a
library's version, so it is the same in every installation; and its two splits come from the digits'
own, so that no test image is ever trained on, whatever the tasks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from impcore.data import digits
from impcore.data.dataset import Dataset, Split

NOISE = 8
"""Largest change of a pixel of 0 to 16 in `noisy`."""

# Of the noisy training pixels divided by 16.
NOISY_MEAN = (0.3564,)
NOISY_STD = (0.352,)
_SEEDS = {"train": 20_210_308, "test": 20_210_309}


def parity() -> Dataset:
    """Return the digits' images with two classes: even (0) and odd (1)."""
    whole = digits.load()
    return replace(
        whole,
        name="digits_parity",
        train=Split(whole.train.images, whole.train.labels % 2),
        test=Split(whole.test.images, whole.test.labels % 2),
        num_classes=2,
    )


def rotation() -> Dataset:
    """Return every image in four orientations; the label counts its quarter turns, 0 to 3.

    A turned digit's *digit* would be the ten-class task over again for a network that starts at
    random. How far an image is turned is another task over the same pixels, and it takes no
    labels: Gidaris, Singh, Komodakis 2018, Unsupervised Representation Learning by Predicting
    Image Rotations. 0 and 8 look much the same upside down, and 6 and 9 swap, so no network can be
    right about all of them. Four images where the digits have one: 5,408 for training, 1,780 for
    testing.
    """
    whole = digits.load()
    return replace(
        whole, name="digits_rotation", train=_turned(whole.train), test=_turned(whole.test),
        num_classes=4,
    )  # fmt: skip


def noisy() -> Dataset:
    """Return the digits, each pixel moved by -NOISE to NOISE at random and kept within 0 to 16.

    The noise belongs to the data set: it is drawn once, and every epoch sees the same images.
    """
    whole = digits.load()
    return replace(
        whole,
        name="digits_noisy",
        train=_with_noise(whole.train, _SEEDS["train"]),
        test=_with_noise(whole.test, _SEEDS["test"]),
        mean=NOISY_MEAN,
        std=NOISY_STD,
    )


def _turned(split: Split) -> Split:
    """All images at 0 turns, then all at 1, 2 and 3 quarter turns counter-clockwise."""
    images = torch.cat([torch.rot90(split.images, turns, (2, 3)) for turns in range(4)])
    return Split(images.contiguous(), torch.arange(4).repeat_interleave(len(split)))


def _with_noise(split: Split, seed: int) -> Split:
    # The integers of RandomState are the same in every version of NumPy, by its policy (NEP 19).
    pixels = split.images.numpy().astype(np.int64)
    noise = np.random.RandomState(seed).randint(
        -NOISE, NOISE + 1, size=pixels.shape, dtype=np.int64
    )
    return Split(torch.from_numpy((pixels + noise).clip(0, 16).astype(np.uint8)), split.labels)
