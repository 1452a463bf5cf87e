"""[data]: the data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from impcore.config.tables.base import PathText, Table

DataName = Literal[
    "digits",
    "digits_parity",
    "digits_rotation",
    "digits_noisy",
    "cifar10",
    "cifar100",
    "svhn",
    "fashion_mnist",
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
    validation: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Training images, the last ones, held out and scored beside the test images; 0: none."""
    drop_last: bool = False
    """Leave out an epoch's last batch if it is incomplete."""
