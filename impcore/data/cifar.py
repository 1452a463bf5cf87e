"""CIFAR-10 and CIFAR-100 from the official python batches (Krizhevsky 2009).

Invariant: images come out only if every file of the data set is present and consistent; otherwise
one error names the file and what is wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from impcore.data import places
from impcore.data.dataset import Dataset, Split
from impcore.data.pickled import read_batch
from impcore.errors import DataError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Spec:
    """Where a CIFAR data set keeps what, and its published constants.

    mean and std: those of VITA-Group/CV_LTH_Pre-training, in units of 255.
    """

    name: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_key: bytes
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    archive: str
    md5: str


CIFAR10 = Spec(
    name="cifar10",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    label_key=b"labels",
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    archive="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
)
CIFAR100 = Spec(
    name="cifar100",
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    label_key=b"fine_labels",
    num_classes=100,
    mean=(0.5071, 0.4866, 0.4409),
    std=(0.2009, 0.1984, 0.2023),
    archive="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
)


def load(spec: Spec, root: Path | str | None = None) -> Dataset:
    """Read the files of `spec` from root / spec.folder; root None means $IMPCORE_DATA.

    The batches follow one another in the order of their numbers; any number of images a file is
    accepted. The labels of CIFAR-100 are the 100 fine ones.

    Raises:
        DataError: no root, files missing, or a file that is not an official batch.
    """
    how = (
        f"to get them, download {spec.archive} (md5 {spec.md5}) and unpack it where {spec.folder} "
        "belongs: tar -xzf ARCHIVE -C ROOT"
    )
    folder = places.find(spec.name, root, spec.folder, (*spec.train, *spec.test), how)
    return Dataset(
        name=spec.name,
        train=_split(spec, [folder / name for name in spec.train]),
        test=_split(spec, [folder / name for name in spec.test]),
        num_classes=spec.num_classes,
        mean=spec.mean,
        std=spec.std,
    )


def _split(spec: Spec, paths: list[Path]) -> Split:
    images, labels = zip(*(_batch(spec, path) for path in paths), strict=True)
    return Split(
        torch.from_numpy(np.concatenate(images).reshape(-1, 3, 32, 32)),
        torch.from_numpy(np.concatenate(labels)),
    )


def _batch(spec: Spec, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [N, 3072] and int64 [N], N >= 1, of one file, checked."""
    batch = read_batch(path)
    for key in (b"data", spec.label_key):
        if key not in batch:
            raise DataError(f"{path}: has no {key.decode()!r}; not a batch of {spec.name}")
    pixels, labels = batch[b"data"], batch[spec.label_key]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        shape = list(pixels.shape) if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path}: 'data' is {shape}, not uint8 [images, {_PIXELS}]")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not labels:
        count = len(labels) if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}: {len(pixels)} images but {count} labels in a list")
    for i, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < spec.num_classes:
            raise DataError(
                f"{path}: label {i} is {label!r}, not an integer of 0 to {spec.num_classes - 1}"
            )
    return pixels, np.array(labels, dtype=np.int64)
