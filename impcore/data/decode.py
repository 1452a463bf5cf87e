"""Decode image files with Pillow, many at a time, in a process of its own.

Invariant: what is written is complete or absent: pixels first, then the record that says they are
there, each by an atomic rename. Importing this module does not import PyTorch, so that a worker
starts quickly.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from impcore import atomic
from impcore.errors import DataError, ImpcoreError

_WIDE = ("I", "F")
"""How Pillow's modes of more than 8 bits a channel begin: I, I;16, I;16B, F, ..."""


def decode(path: Path, side: int) -> np.ndarray:
    """Return the image as RGB, uint8 [H, W, 3], its shorter side scaled to `side` pixels.

    Scaled as torchvision's Resize(side) does a Pillow image: bilinear with antialiasing, the longer
    side rounded down.

    Raises:
        DataError: not an image that Pillow can read, or damaged; names the file and the byte. Or
            one of more than 8 bits a channel, which Pillow would clip to white or black.
    """
    from PIL import Image

    with path.open("rb") as file:
        try:
            with Image.open(file) as opened:
                mode = opened.mode
                image = opened.convert("RGB")
        # Damaged images raise a dozen types, and Pillow's own for a decompression bomb.
        except Exception as error:
            raise DataError(
                f"{path}: not readable as an image at byte {file.tell()} "
                f"({type(error).__name__}: {error})"
            ) from error
    if mode.startswith(_WIDE):
        raise DataError(
            f"{path}: has more than 8 bits a channel (Pillow's mode {mode}); convert it to 8, as "
            "only you know its scale"
        )
    width, height = image.size
    short, long = min(width, height), max(width, height)
    scaled = int(side * long / short)
    size = (side, scaled) if width <= height else (scaled, side)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def write_shard(root: Path, names: Sequence[str], side: int, target: Path) -> None:
    """Decode images into target.npy, uint8 [bytes], and target.json, their sizes and a hash.

    `names` are paths below `root`. The images follow one another, each [H, W, 3] in C order.

    Raises:
        DataError: an image that cannot be read, or a file that cannot be written.
    """
    images = [decode(root / name, side) for name in names]
    digest, header = hashlib.sha256(), io.BytesIO()
    for image in images:
        digest.update(image.data)
    shape = (sum(image.size for image in images),)
    layout = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, layout)
    record = {"sha256": digest.hexdigest(), "sizes": [image.shape[:2] for image in images]}
    try:
        atomic.write(
            target.with_suffix(".npy"),
            [header.getvalue(), *(image.reshape(-1).data for image in images)],
        )
        atomic.write(target.with_suffix(".json"), json.dumps(record).encode())
    except ImpcoreError as error:
        raise DataError(f"data.cache: {error}") from error


def start_worker(parent: int) -> None:
    """Make this process a worker of `parent`: deaf to Ctrl-C, which is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, however that ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
