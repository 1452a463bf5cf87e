"""SVHN, the house numbers of Netzer et al. 2011, from the official cropped-digit .mat files.

Invariant: images come out only if both files are present and consistent; otherwise one error names
the file and what is wrong with it. The files' variables are looked at before any is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from impcore.data import places
from impcore.data.dataset import Dataset, Split
from impcore.errors import DataError

FOLDER = "svhn"
TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"

# Those of VITA-Group/CV_LTH_Pre-training, in units of 255.
MEAN = (0.4377, 0.4438, 0.4728)
STD = (0.1201, 0.1231, 0.1052)

_SITE = "http://ufldl.stanford.edu/housenumbers"
_HOW = (
    f"to get them, download {_SITE}/{TRAIN} (md5 e26dedcc434d2e4c54c9b2d4a06d8373) and "
    f"{_SITE}/{TEST} (md5 eb5a983be6a315427106f1b164d9cef3) into ROOT/{FOLDER}"
)


def load(root: Path | str | None = None) -> Dataset:
    """Read root / svhn; root None means $IMPCORE_DATA. 3 channels, 32x32 pixels, 10 classes.

    The official split: 73,257 training and 26,032 test images; the "extra" images are not used. The
    digit 0, which the files call 10, is class 0.

    Raises:
        DataError: no root, files missing, or a file that is not an official one.
    """
    folder = places.find("svhn", root, FOLDER, (TRAIN, TEST), _HOW)
    return Dataset(
        name="svhn",
        train=_split(folder / TRAIN),
        test=_split(folder / TEST),
        num_classes=10,
        mean=MEAN,
        std=STD,
    )


def _split(path: Path) -> Split:
    pixels, labels = _read(path)
    if labels.min() < 1 or labels.max() > 10:
        row = int(np.argmax((labels < 1) | (labels > 10)))
        raise DataError(f"{path}: y[{row}] is {labels[row]}, not a digit of 1 to 10 (10 means 0)")
    images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64) % 10))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """X, uint8 [32, 32, 3, N], and y [N], N >= 1; the first dimension of X is the image's rows."""
    from scipy.io import loadmat, whosmat

    with path.open("rb") as file:
        try:
            found = {name: (shape, kind) for name, shape, kind in whosmat(file)}
            _check(path, found)
            file.seek(0)
            content: dict[str, Any] = loadmat(file, variable_names=("X", "y"))
            return content["X"].reshape(32, 32, 3, -1), content["y"].reshape(-1)
        except DataError:
            raise
        # A damaged file raises nearly anything, all of which means the same to the caller.
        except Exception as error:
            raise DataError(
                f"{path}: not readable as a MATLAB 5 file at byte {file.tell()} "
                f"({type(error).__name__}: {error}); truncated or damaged"
            ) from error


def _check(path: Path, found: dict[str, tuple[tuple[int, ...], str]]) -> None:
    for name, wanted in (("X", "uint8 [32, 32, 3, images]"), ("y", "uint8 [images, 1]")):
        if name not in found:
            held = ", ".join(found) or "nothing"
            raise DataError(f"{path}: has no {name!r} ({wanted}), but {held}")
    (shape, kind), (label_shape, label_kind) = found["X"], found["y"]
    # MATLAB drops trailing dimensions of 1.
    if kind != "uint8" or len(shape) not in (3, 4) or shape[:3] != (32, 32, 3) or 0 in shape:
        raise DataError(f"{path}: X is {kind} {list(shape)}, not uint8 [32, 32, 3, images]")
    count = shape[3] if len(shape) == 4 else 1
    if label_kind not in ("uint8", "double") or label_shape != (count, 1):
        raise DataError(
            f"{path}: y is {label_kind} {list(label_shape)}, not uint8 [{count}, 1] beside "
            f"{count} images"
        )
