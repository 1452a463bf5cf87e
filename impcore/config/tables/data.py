"""[data]: the data set."""

from __future__ import annotations

from typing import Literal

from impcore.config.tables.base import PathText, Table

DataName = Literal[
    "digits",
    "digits_parity",
    "digits_rotation",
    "digits_noisy",
    "cifar10",
    "cifar100",
]
"""A line a data set of `impcore.data`."""


class Data(Table):
    """The data set."""

    name: DataName
    """The data set; digits is shipped with the package."""
    root: PathText | None = None
    """The directory of the data set's files; $IMPCORE_DATA unless given."""
    augment: Literal["none", "crop", "flip_crop"] = "none"
    """Augmentation of training images: padded random crop, with or without horizontal flips."""
