"""The 1,797 handwritten digits of scikit-learn: real 8x8 images that come with the package.

The file is vendored because it is 57 KB, while scikit-learn, which it comes from, would be tens of
megabytes of dependency for it alone. Provenance and licences: LICENSE.txt beside it.

Invariant: the images and their split are the same in every installation, or loading fails.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from importlib import resources

import numpy as np
import torch

from impcore.data.dataset import Dataset, Split
from impcore.errors import DataError

_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"

# Of the training pixels divided by 16.
MEAN = (0.3049,)
STD = (0.3758,)


def load() -> Dataset:
    """Return the digits: 1 channel, 8x8 pixels of 0..16 (`scale` is 16), 10 classes.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998. The split is ours, as the source of this file has none: within each
    class every fourth image in file order is a test image, so both splits are stratified, no
    random generator is involved, and writers appear in both. It gives 1,352 training and 445
    test images.

    Raises:
        DataError: the packaged file is missing or damaged.
    """
    table = np.loadtxt(io.BytesIO(_read()), delimiter=",", dtype=np.uint8)
    images = torch.from_numpy(table[:, :64].reshape(-1, 1, 8, 8).copy())
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    test = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        test[(labels == digit).nonzero().flatten()[3::4]] = True
    return Dataset(
        name="digits",
        train=Split(images[~test], labels[~test]),
        test=Split(images[test], labels[test]),
        num_classes=10,
        mean=MEAN,
        std=STD,
        scale=16,
        crop_padding=1,
    )


def _read() -> bytes:
    path = resources.files(__package__) / "digits.csv.gz"
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); install impcore again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise DataError(f"{path}: content has SHA-256 {found}, not {_SHA256}; reinstall impcore")
    return content
