"""The data set of a recipe, or noise of its shape where it is missing.

Invariant: no image is decoded and nothing is written for folders of images; what stands in for data
has the sizes of the real one, so that times and memory mean something.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from impcore.config import Config
from impcore.data import Dataset, Split, image_cache, image_folder
from impcore.data.stored_images import StoredSplit
from impcore.errors import ConfigError, DataError, MissingExtraError
from impcore.imp import materials
from impcore.imp.checks import given
from impcore.imp.checks.findings import Findings
from impcore.imp.checks.resources import room
from impcore.imp.materials import AnyDataset

_SIZES = {
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "svhn": ((3, 32, 32), 10, 73_257, 26_032),
    "fashion_mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "imagenet": (None, 1000, 1_281_167, 50_000),
}
"""Name -> shape, classes, training and test images, as published."""


def data_of(config: Config, prefix: str, findings: Findings) -> AnyDataset | None:
    """The data set, or what stands in for it, or None where its sizes are not known, or do not fit
    the recipe.
    """
    try:
        return _data_of(config, prefix, findings)
    except ConfigError as error:
        findings.fault(f"{prefix}recipe", str(error))
        return None


def _data_of(config: Config, prefix: str, findings: Findings) -> AnyDataset | None:
    try:
        if config.data.name in image_folder.SPECS:
            return _of_folders(config, prefix, findings)
        dataset = materials.kind_of(config).dataset(config, None)
    except (ConfigError, DataError, MissingExtraError) as error:
        what = "weights" if str(error).startswith("model.path") else "data"
        findings.fault(f"{prefix}{what}", str(error))
        if config.data.name in _SIZES:
            return _noise(config, prefix, findings)
        given.look_at(config, prefix, error, findings)
        findings.warn(f"{prefix}rest", "not checked: steps and times depend on the missing data")
        return None
    findings.note(f"{prefix}data", _counts(config, len(dataset.train), len(dataset.test)))
    return dataset


def _counts(config: Config, train: int, test: int) -> str:
    what = "rows" if config.data.is_text else "images"
    return f"{config.data.name}: {train:,} training and {test:,} test {what}"


def _of_folders(config: Config, prefix: str, findings: Findings) -> AnyDataset:
    table = config.data
    size = table.image_size or image_folder.IMAGE_SIZE
    options = {"cache": table.cache, "image_size": size}
    found = image_folder.survey(image_folder.SPECS[table.name], table.root, **options)  # type: ignore[arg-type]
    counts = _counts(config, *(len(part) for part in found.labels))
    if all(image_cache.is_complete(part) for part in found.wanted):
        findings.note(f"{prefix}data", f"{counts}, all decoded")
        return materials.kind_of(config).dataset(config, None)
    place = found.wanted[0].folder.parent
    findings.warn(
        f"{prefix}data",
        f"{counts}; not decoded yet: the run will do that first and keep them in {place}; timed "
        "with noise in their place",
    )
    room(f"{prefix}disk", image_cache.needed(found.wanted), "decoded images", place, findings)
    return _noise_folders(config, found.classes, *(len(part) for part in found.labels))


def _noise(config: Config, prefix: str, findings: Findings) -> Dataset[Any]:
    shape, classes, train, test = _SIZES[config.data.name]
    findings.warn(f"{prefix}rest", "checked with noise of the data's published size in its place")
    if shape is None:
        return _noise_folders(config, classes, train, test)
    parts = (_noise_split(shape, classes, train), _noise_split(shape, classes, test))
    middle = (0.5,) * shape[0]
    made = Dataset(config.data.name, *parts, classes, mean=middle, std=middle)
    return materials.held_out(config, made)


def _noise_split(shape: tuple[int, ...], classes: int, count: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(count) % classes)


def _noise_folders(config: Config, classes: int, train: int, test: int) -> Dataset[Any]:
    """As many images, all of them the same."""
    size = config.data.image_size or image_folder.IMAGE_SIZE
    side = image_folder.kept_side(size)
    pixels = np.random.default_rng(0).integers(256, size=side * side * 3, dtype=np.uint8)

    def split(count: int) -> StoredSplit:
        shards = [pixels] * (-(-count // image_cache.SHARD))
        sides = np.full(count, side)
        store = image_cache.Store(shards, np.zeros(count, dtype=int), sides, sides, "noise")
        return StoredSplit(store, torch.arange(count), torch.arange(count) % classes, size)

    mean, std = image_folder.MEAN, image_folder.STD
    made = Dataset(config.data.name, split(train), split(test), classes, mean=mean, std=std)
    return materials.held_out(config, made)
