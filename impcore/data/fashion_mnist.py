"""Fashion-MNIST (Xiao et al. 2017) from the official gzipped IDX files.

Invariant: images come out only if all four files are present and consistent; otherwise one error
names the file and what is wrong with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from impcore.data import places
from impcore.data.dataset import Dataset, Split
from impcore.data.idx import read_idx
from impcore.errors import DataError

FOLDER = "FashionMNIST/raw"  # where torchvision puts them

# Those of VITA-Group/CV_LTH_Pre-training, in units of 255; the pixels' own are 0.2860 and 0.3530.
MEAN = (0.1436,)
STD = (0.1609,)

_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_HOW = (
    "to get them, download them from http://fashion-mnist.s3-website.eu-central-1.amazonaws.com "
    f"into ROOT/{FOLDER} (md5 of " + ", ".join(f"{name}: {md5}" for name, md5 in _MD5.items()) + ")"
)


def load(root: Path | str | None = None) -> Dataset:
    """Read root / FashionMNIST / raw; root None means $IMPCORE_DATA.

    1 channel, 28x28 pixels, 10 classes; the official split of 60,000 and 10,000 images.

    Raises:
        DataError: no root, files missing, or a file that is not an official one.
    """
    folder = places.find("fashion_mnist", root, FOLDER, tuple(_MD5), _HOW)
    return Dataset(
        name="fashion_mnist",
        train=_split(folder, "train"),
        test=_split(folder, "t10k"),
        num_classes=10,
        mean=MEAN,
        std=STD,
    )


def _split(folder: Path, part: str) -> Split:
    pixels = read_idx(folder / f"{part}-images-idx3-ubyte.gz", (28, 28))
    path = folder / f"{part}-labels-idx1-ubyte.gz"
    labels = read_idx(path, ())
    if len(labels) != len(pixels):
        raise DataError(f"{path}: {len(labels)} labels beside {len(pixels)} images")
    if labels.max() > 9:
        row = int(labels.argmax())
        raise DataError(f"{path}: label {row} (byte {8 + row}) is {labels[row]}, not 0 to 9")
    images = torch.from_numpy(pixels.copy())[:, None]
    return Split(images, torch.from_numpy(labels.astype(np.int64)))
