"""The data sets that the experiments train on, by name, and their batches on the device.

Invariant: `DATASETS` (images) and `TEXT_DATASETS` (text) hold every name, a recipe's `data.name`
takes the same ones (a test compares them), and importing this module does not import PyTorch.
Nothing is downloaded, but what `source="hub"` asks for.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impcore.errors import DataError
from impcore.integers import checked
from impcore.nearest import nearest

if TYPE_CHECKING:
    from impcore.data.batches import Batches
    from impcore.data.dataset import Dataset, Split
    from impcore.data.loader import DeviceBatches
    from impcore.data.text.batches import TextBatches
    from impcore.data.text.dataset import TextDataset

__all__ = [
    "DATASETS",
    "TEXT_DATASETS",
    "Batches",
    "Dataset",
    "DeviceBatches",
    "Split",
    "TextBatches",
    "TextDataset",
    "load",
    "load_text",
]

_HOME = {
    "Batches": "impcore.data.batches",
    "Dataset": "impcore.data.dataset",
    "DeviceBatches": "impcore.data.loader",
    "Split": "impcore.data.dataset",
    "TextBatches": "impcore.data.text.batches",
    "TextDataset": "impcore.data.text.dataset",
}


def _digits(root: Path | str | None) -> Dataset:
    from impcore.data import digits

    return digits.load()


def _digits_parity(root: Path | str | None) -> Dataset:
    from impcore.data.digits import derived

    return derived.parity()


def _digits_rotation(root: Path | str | None) -> Dataset:
    from impcore.data.digits import derived

    return derived.rotation()


def _digits_noisy(root: Path | str | None) -> Dataset:
    from impcore.data.digits import derived

    return derived.noisy()


def _cifar10(root: Path | str | None) -> Dataset:
    from impcore.data import cifar

    return cifar.load(cifar.CIFAR10, root)


def _cifar100(root: Path | str | None) -> Dataset:
    from impcore.data import cifar

    return cifar.load(cifar.CIFAR100, root)


def _svhn(root: Path | str | None) -> Dataset:
    from impcore.data import svhn

    return svhn.load(root)


def _fashion_mnist(root: Path | str | None) -> Dataset:
    from impcore.data import fashion_mnist

    return fashion_mnist.load(root)


def _imagenet(root: Path | str | None, **options: Any) -> Dataset[Any]:
    from impcore.data import image_folder

    return image_folder.load(image_folder.IMAGENET, root, **options)


def _image_folder(root: Path | str | None, **options: Any) -> Dataset[Any]:
    from impcore.data import image_folder

    return image_folder.load(image_folder.ANY, root, **options)


FOLDERS: dict[str, Callable[..., Dataset[Any]]] = {
    "imagenet": _imagenet,
    "image_folder": _image_folder,
}
"""The data sets that are folders of images: name → loader, called with `root` and options."""

DATASETS: dict[str, Callable[..., Dataset[Any]]] = {
    "digits": _digits,
    "digits_parity": _digits_parity,
    "digits_rotation": _digits_rotation,
    "digits_noisy": _digits_noisy,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "fashion_mnist": _fashion_mnist,
    **FOLDERS,
}
"""Name → loader, called with `root`. A new data set is one more entry."""


TEXT_DATASETS: dict[str, str] = {
    "mnli": "classification",
    "sst2": "classification",
    "stsb": "regression",
    "qqp": "classification",
    "wnli": "classification",
    "qnli": "classification",
    "mrpc": "classification",
    "rte": "classification",
    "cola": "classification",
    "squad": "extractive_qa",
    "wikitext": "mlm",
    "prose": "mlm",
    "prose_order": "classification",
    "prose_pairs": "classification",
    "prose_topic": "classification",
}
"""Name → the task that it is for. The loaders are in `impcore.data.text.load`."""


def load(
    name: str,
    *,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    image_size: int | None = None,
    check: Callable[[], None] | None = None,
) -> Dataset[Any]:
    """Read a data set into host memory, or, of a folder of images, what is to be known of it.

    Args:
        name: a key of `DATASETS`.
        root: the folder that holds the data set's own folder (cifar-10-batches-py,
            cifar-100-python, svhn, FashionMNIST/raw, imagenet), or, for image_folder, train and
            val; None means the folder that $IMPCORE_DATA names. The digits come with the package
            and need none.
        cache, image_size, check: see `impcore.data.image_folder.load`; of folders of images only,
            but `check` is of no use elsewhere rather than an error.

    Raises:
        DataError: unknown name; an option that the data set does not take; files missing (the
            message says which, where it looked, and how to get them) or malformed (the message
            names the file and the fault).
    """
    if not isinstance(name, str) or name not in DATASETS:
        hint = nearest(name, DATASETS)
        raise DataError(f"name: no data set {name!r}{hint}; valid: {', '.join(DATASETS)}")
    given = {"cache": cache, "image_size": image_size, "check": check}
    options = {key: value for key, value in given.items() if value is not None}
    if name in FOLDERS:
        return FOLDERS[name](root, **options)
    for key in options.keys() - {"check"}:
        raise DataError(f"{key}: {options[key]!r}, but only {' and '.join(FOLDERS)} take it")
    return DATASETS[name](root)


def load_text(
    name: str,
    *,
    root: Path | str | None = None,
    source: str = "files",
    tokenizer: Path | str | None = None,
    max_length: int | None = None,
    doc_stride: int | None = None,
) -> TextDataset:
    """Read a text data set into host memory, as tokens; they are made once and then cached.

    The cache is $IMPCORE_CACHE/tokens, or else impcore/tokens in $XDG_CACHE_HOME or ~/.cache.

    Args:
        name: a key of `TEXT_DATASETS`.
        root: the folder that holds the official files (of GLUE the folder of MNLI, SST-2, ...);
            None means the folder that $IMPCORE_DATA names. With source="hub" a local copy of the
            hub's repository, or None for the hub and its cache. The prose comes with Python and
            needs none.
        source: "files", or "hub": through Hugging Face datasets.
        tokenizer: a directory or a hub name; the prose has its own.
        max_length: tokens in a row at most; None takes 128, of SQuAD 384, of the prose 64.
        doc_stride: of SQuAD: a window of the context begins every so many tokens; None takes 128.

    Raises:
        DataError: unknown name; files missing or malformed (names file and line); no tokenizer.
        TokenizerError: the tokenizer cannot be read, or is not one of BERT's kind.
        MissingExtraError: a library of the extra `hf` is not installed.
        ValueError: source is another one, max_length no integer of at least 8, or doc_stride none
            of at least 1.
    """
    if not isinstance(name, str) or name not in TEXT_DATASETS:
        hint = nearest(name, TEXT_DATASETS)
        valid = ", ".join(TEXT_DATASETS)
        raise DataError(f"name: no text data set {name!r}{hint}; valid: {valid}")
    from impcore.data.text.load import LOADERS, SOURCES, Options

    if source not in SOURCES:
        raise ValueError(f"source: {source!r} is not one of {', '.join(SOURCES)}")
    if max_length is not None:
        max_length = checked("max_length", max_length, 8)
    if doc_stride is not None:
        doc_stride = checked("doc_stride", doc_stride, 1)
    folder, words = (None if at is None else os.fspath(at) for at in (root, tokenizer))
    return LOADERS[name](Options(folder, source, words, max_length, doc_stride))


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'impcore.data' has no attribute {name!r}")
