"""Folders of images, a folder a class: ImageNet, or anyone's own.

Invariant: every image of the folders is in the data set, or an error names what is no image;
classes are the training folders in the order of their names, whatever the file system says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from impcore.data import places
from impcore.data.dataset import Dataset
from impcore.errors import DataError

if TYPE_CHECKING:
    from impcore.data.image_cache import File, Wanted
    from impcore.data.stored_images import StoredSplit

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
IMAGE_SIZE = 224

# Those of torchvision's models, in units of 255.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Spec:
    """A data set of folders: where it is, how many classes it has (None: any), how to get it."""

    name: str
    folder: str
    classes: int | None
    how: str


IMAGENET = Spec(
    name="imagenet",
    folder="imagenet",
    classes=1000,
    how=(
        "to get them, download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from "
        "https://image-net.org (an account is needed) and unpack them as ROOT/imagenet/train/CLASS/"
        "*.JPEG and ROOT/imagenet/val/CLASS/*.JPEG"
    ),
)
ANY = Spec(
    name="image_folder",
    folder="",
    classes=None,
    how="to get them, put images into ROOT/train/CLASS/ and ROOT/val/CLASS/",
)
SPECS = {spec.name: spec for spec in (IMAGENET, ANY)}


def load(
    spec: Spec,
    root: Path | str | None = None,
    *,
    cache: Path | str | None = None,
    image_size: int = IMAGE_SIZE,
    check: Callable[[], None] = lambda: None,
) -> Dataset[StoredSplit]:
    """Read the folders of `spec` below root / spec.folder; root None means $IMPCORE_DATA.

    The first time, every image is decoded and scaled to a shorter side of 8/7 `image_size` pixels,
    256 for 224, and kept as memory maps: about 260 kB an image at that size, 340 GB for ImageNet.
    Batches hold images of `image_size`; "val" is the test split.

    Args:
        spec: `IMAGENET` or `ANY`.
        root: as in `impcore.data.load`.
        cache: the folder for decoded images; None means "impcore-cache" beside train and val.
        image_size: pixels of a side, at least 1.
        check: called now and then while images are decoded; what it raises stops that.

    Raises:
        DataError: no root, folders or classes missing, a file that is no image or damaged, or no
            place for decoded images.
    """
    # Pillow is needed by the worker processes alone, and these modules by image folders alone.
    from impcore.data import image_cache
    from impcore.data.stored_images import StoredSplit

    found = survey(spec, root, cache=cache, image_size=image_size)
    image_cache.make(found.wanted, check)
    stores = [image_cache.open_store(one) for one in found.wanted]
    train, test = (
        StoredSplit(store, torch.arange(len(store)), label, image_size)
        for store, label in zip(stores, found.labels, strict=True)
    )
    return Dataset(
        name=spec.name, train=train, test=test, num_classes=found.classes, mean=MEAN, std=STD
    )


@dataclass(frozen=True)
class Survey:
    """What folders of images hold: `wanted` caches and int64 `labels` of train and val."""

    classes: int
    wanted: tuple[Wanted, Wanted]
    labels: tuple[torch.Tensor, torch.Tensor]


def survey(
    spec: Spec,
    root: Path | str | None = None,
    *,
    cache: Path | str | None = None,
    image_size: int = IMAGE_SIZE,
) -> Survey:
    """List the folders as `load` does, without opening an image or writing anything.

    Raises:
        DataError: as `load`, for what can be seen from outside.
    """
    from impcore.data import image_cache

    folder = places.find(spec.name, root, spec.folder, ("train", "val"), spec.how)
    kept = folder / "impcore-cache" if cache is None else Path(cache).expanduser()
    classes = _classes(folder / "train", spec)
    side = kept_side(image_size)
    wanted: list[Wanted] = []
    labels = []
    for part in ("train", "val"):
        files, found = _listing(folder / part, classes)
        wanted.append(image_cache.wanted(kept, f"{spec.name}-{part}", files, folder / part, side))
        labels.append(torch.tensor(found))
    return Survey(len(classes), (wanted[0], wanted[1]), (labels[0], labels[1]))


def kept_side(image_size: int) -> int:
    """The shorter side, in pixels, that images are kept with for batches of `image_size`."""
    return -(-image_size * 8 // 7)


def _classes(folder: Path, spec: Spec) -> list[str]:
    names = sorted(_entries(folder, os.DirEntry.is_dir, "a class, which is a folder of images"))
    if not names or spec.classes not in (None, len(names)):
        wanted = "at least 1" if spec.classes is None else spec.classes
        raise DataError(
            f"{spec.name}: {folder.absolute()} has {len(names)} classes (folders), should have "
            f"{wanted}; {spec.how}"
        )
    return names


def _listing(folder: Path, classes: list[str]) -> tuple[list[File], list[int]]:
    """All images by their paths below `folder`, class by class, and the class of each."""
    files: list[File] = []
    labels = []
    found = set(_entries(folder, os.DirEntry.is_dir, "a class, which is a folder of images"))
    if strange := found.symmetric_difference(classes):
        raise DataError(
            f"{folder.absolute()}: should have the classes of the training images; "
            f"{sorted(strange)[0]!r} is in one of them only"
        )
    for label, name in enumerate(classes):
        entries = _entries(folder / name, _is_image, f"an image ({', '.join(SUFFIXES)})")
        if not entries:
            raise DataError(f"{folder.absolute() / name}: has no images")
        files += sorted(
            (f"{name}/{entry}", info.st_size, info.st_mtime_ns) for entry, info in entries.items()
        )
        labels += [label] * len(entries)
    return files, labels


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and entry.name.lower().endswith(SUFFIXES)


def _entries(
    folder: Path, wanted: Callable[[os.DirEntry[str]], bool], what: str
) -> dict[str, os.stat_result]:
    """The entries of a folder and what is known of them; hidden ones are left out."""
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
            for entry in seen:
                if not wanted(entry):
                    raise DataError(f"{entry.path}: is not {what}; remove it")
            return {entry.name: entry.stat() for entry in seen}
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror}") from error
