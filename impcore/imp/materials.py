"""What a recipe is made of: its data set, its model, and batches of the one for the other.

Invariant: the kind of the data set (images or text) decides alone which row of `KINDS` makes all
three; a fault of a file or of the weights is a ConfigError or a DataError that names the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from impcore import data, models
from impcore.config import Config
from impcore.config.tables.model import SIZES
from impcore.data import Batches, DeviceBatches, TextBatches, TextDataset
from impcore.data.share import Share
from impcore.data.text.batches import MULTIPLE
from impcore.errors import CheckpointError, ConfigError, TokenizerError
from impcore.models.weights import Taken, take

if TYPE_CHECKING:
    from impcore.data.text.vocabulary import Vocabulary

Check = Callable[[], None] | None
AnyDataset = data.Dataset[Any] | TextDataset


@dataclass(frozen=True)
class Kind:
    """A row: config, and what is called now and then while files are prepared, to the data set;
    config and data set to the model, not yet on a device, and what became of given weights; both,
    a device and this process's share to the batches of training, test and validation.
    """

    dataset: Callable[[Config, Check], AnyDataset]
    model: Callable[[Config, Any], tuple[nn.Module, Taken | None]]
    batches: Callable[[Config, Any, torch.device, Share], tuple[Batches, Batches, Batches | None]]


def kind_of(config: Config) -> Kind:
    """The row for the recipe's data set."""
    return KINDS["text" if config.data.is_text else "images"]


def _images(config: Config, check: Check) -> data.Dataset[Any]:
    table = config.data
    dataset = data.load(
        table.name, root=table.root, cache=table.cache, image_size=table.image_size, check=check
    )
    return held_out(config, dataset)


def held_out(config: Config, dataset: data.Dataset[Any]) -> data.Dataset[Any]:
    """The data set with the validation split that the recipe wants, if it wants one."""
    count, whole = config.data.validation, len(dataset.train)
    if count >= whole:
        raise ConfigError(
            f"data.validation = {count}: the training images of {dataset.name} are {whole}; should "
            f"be at most {whole - 1}"
        )
    return dataset.hold_out(count) if count else dataset


def _check_batches(config: Config, examples: int) -> None:
    size = config.train.batch_size
    if config.data.drop_last and size > examples:
        raise ConfigError(
            f"train.batch_size = {size}: with data.drop_last nothing is left of {examples} "
            f"training examples; should be at most {examples}"
        )


def _image_model(config: Config, dataset: data.Dataset[Any]) -> tuple[nn.Module, Taken | None]:
    model = models.build(
        config.model.arch,
        stem=config.model.stem,
        num_classes=dataset.num_classes,
        in_channels=dataset.train.shape[0],
        bn_gamma=config.model.bn_gamma,
    )
    return model, None if config.model.path is None else _weights(model, config.model.path)


def _image_batches(
    config: Config, dataset: data.Dataset[Any], device: torch.device, share: Share
) -> tuple[Batches, Batches, Batches | None]:
    _check_batches(config, len(dataset.train))
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    held = partial(
        DeviceBatches, dataset=dataset, device=device, memory_format=memory_format, share=share
    )
    train = held(
        dataset.train,
        batch_size=config.train.batch_size,
        augment=config.data.augment,
        seed=config.run.seed,
        drop_last=config.data.drop_last,
    )
    scored = partial(held, batch_size=config.train.eval_batch_size)
    validation = None if dataset.validation is None else scored(dataset.validation)
    return train, scored(dataset.test), validation


def _text(config: Config, check: Check) -> TextDataset:
    with _named_tokenizer(config):
        return data.load_text(
            config.data.name,
            root=config.data.root,
            source=config.data.source or "files",
            tokenizer=_tokenizer(config),
            max_length=config.data.max_length,
            doc_stride=config.data.doc_stride,
        )


def vocabulary_of(config: Config) -> Vocabulary | None:
    """The vocabulary of the recipe's tokenizer; None if the data set, which is text, has its own.

    Raises:
        ConfigError: it cannot be read; names the key that says where it is.
        MissingExtraError: a library of the extra `hf` is not installed.
    """
    from impcore.data.text import vocabulary

    source = _tokenizer(config)
    if source is None:
        return None
    with _named_tokenizer(config):
        return vocabulary.load(source)


def _tokenizer(config: Config) -> str | None:
    """data.tokenizer, or model.path where a tokenizer may lie beside the weights: a directory or a
    hub name.
    """
    own = config.model.path if config.model.hidden_size is None else None
    return config.data.tokenizer or own


@contextmanager
def _named_tokenizer(config: Config) -> Iterator[None]:
    """A fault of the tokenizer, by the key that says where it is."""
    try:
        yield
    except TokenizerError as error:
        key = "model.path" if config.data.tokenizer is None else "data.tokenizer"
        raise ConfigError(f"{key}: {error}") from error


def _text_model(config: Config, dataset: TextDataset) -> tuple[nn.Module, Taken | None]:
    table, path = config.model, config.model.path
    facts: dict[str, Any] = {
        "task": dataset.task,
        "num_classes": dataset.num_classes,
        "vocab_size": dataset.vocab_size,
    }
    taken = None
    try:
        if table.hidden_size is None:
            assert path is not None
            model, taken = models.load_text(table.arch, path, **facts)
        else:
            sizes = {key: getattr(table, key) for key in SIZES}
            model = models.build_text(table.arch, **facts, pad_token=dataset.pad, **sizes)
            taken = None if path is None else _weights(model, path)
    except CheckpointError as error:
        raise ConfigError(f"model.path: {error}") from error
    _check_positions(model, dataset)
    return model, taken


def _check_positions(model: Any, dataset: TextDataset) -> None:
    needed = -(-dataset.longest // MULTIPLE) * MULTIPLE
    positions = model.config.max_position_embeddings
    if needed > positions:
        raise ConfigError(
            f"data.max_length: rows of {dataset.longest} tokens, padded to a multiple of "
            f"{MULTIPLE}, are {needed}; the model has {positions} positions"
        )


def _text_batches(
    config: Config, dataset: TextDataset, device: torch.device, share: Share
) -> tuple[Batches, Batches, None]:
    _check_batches(config, len(dataset.train))
    held = partial(TextBatches, dataset=dataset, device=device, share=share)
    train = held(
        dataset.train,
        batch_size=config.train.batch_size,
        seed=config.run.seed,
        drop_last=config.data.drop_last,
    )
    return train, held(dataset.test, batch_size=config.train.eval_batch_size), None


def _weights(model: nn.Module, path: str) -> Taken:
    try:
        return take(model, Path(path).expanduser())
    except CheckpointError as error:
        raise ConfigError(f"model.path: {error}") from error


KINDS: Mapping[str, Kind] = {
    "images": Kind(_images, _image_model, _image_batches),
    "text": Kind(_text, _text_model, _text_batches),
}
