"""Given weights and their tokenizer, looked at by themselves where the data set is missing.

Invariant: nothing is said of them that other data could change. The head depends on the data, so of
it nothing is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from impcore import data
from impcore.config import Config
from impcore.data import Dataset, Split, TextDataset
from impcore.data.text.dataset import TextSplit
from impcore.errors import CheckpointError, ConfigError, ImpcoreError, MissingExtraError
from impcore.imp import materials
from impcore.imp.checks.findings import Findings
from impcore.tensor_files import Tensors

if TYPE_CHECKING:
    from impcore.data.text.vocabulary import Vocabulary


def look_at(config: Config, prefix: str, known: Exception, findings: Findings) -> None:
    """Whether the recipe's tokenizer and weights would do, apart from the fault that is `known`."""
    if isinstance(known, MissingExtraError):
        return  # the libraries that read data read tokenizer and weights too
    words = None
    try:
        words = materials.vocabulary_of(config) if config.data.is_text else None
    except ConfigError as error:
        key = str(error).partition(":")[0]
        if str(error) != str(known):
            findings.fault(f"{prefix}{'weights' if key == 'model.path' else 'data'}", str(error))
        if key == "model.path" and not Path(str(config.model.path)).expanduser().is_dir():
            return  # there is no folder that could hold weights
    if config.model.path is None:
        return
    try:
        findings.note(f"{prefix}weights", f"{config.model.path}: {_weights(config, words)}")
    except ImpcoreError as error:
        findings.fault(f"{prefix}weights", str(error))


def _weights(config: Config, words: Vocabulary | None) -> str:
    """What can be said of them. Raises ConfigError or MissingExtraError."""
    is_text, path = config.data.is_text, str(config.model.path)
    if is_text and words is None and config.model.hidden_size is not None:
        try:
            count = len(Tensors(Path(path).expanduser()))
        except CheckpointError as error:
            raise ConfigError(f"model.path: {error}") from error
        return f"{count} tensors, not compared with the model: the tokenizer says how wide it is"
    stand_in = _rows(config, words) if is_text else _images(config)
    materials.kind_of(config).model(config, stand_in)
    return f"fits {config.model.arch}, apart from what depends on the data"


def _rows(config: Config, words: Vocabulary | None) -> TextDataset:
    """A row of padding, for the recipe's task. A vocabulary that is not known is the smallest."""
    size, pad = (1, 0) if words is None else (words.size, words.pad)
    row = torch.tensor([pad], dtype=torch.int32)
    starts = torch.tensor([0, 1])
    split = TextSplit(row, starts, starts[1:], torch.zeros(1, dtype=torch.int64))
    name, task = config.data.name, data.TEXT_DATASETS[config.data.name]
    return TextDataset(name, task, 1, size, pad, pad, (pad,), split, split, "")


def _images(config: Config) -> Dataset[Split]:
    """An image of the folders' three colours."""
    split = Split(torch.zeros((1, 3, 8, 8), dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    middle = (0.5,) * 3
    return Dataset(config.data.name, split, split, 1, mean=middle, std=middle)
