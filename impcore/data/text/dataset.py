"""A text data set as tokens in host memory, and what a model must know to read them.

Invariant: a `TextDataset` is consistent from the moment it exists, and its fingerprint changes
whenever anything that training or its score sees of it changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from impcore.data.truth import Truth
from impcore.errors import DataError

TASKS = ("classification", "regression", "extractive_qa", "mlm")


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Rows of tokens and their targets.

    Attributes:
        tokens: int32 [tokens], all rows one after another.
        starts: int64 [rows + 1], where each row begins in it.
        second: int32 [rows], where the second segment begins in a row; the row's length if it has
            none.
        targets: int64 [rows], float32 [rows], or int64 [rows, 2]: a span; of masked language
            modelling unused.
        truth: what predictions are judged by.
    """

    tokens: Tensor
    starts: Tensor
    second: Tensor
    targets: Tensor
    truth: Truth = field(default_factory=Truth)

    def __post_init__(self) -> None:
        rows = len(self.starts) - 1
        if rows < 1 or len(self.second) != rows or len(self.targets) != rows:
            raise DataError(
                f"starts: {rows} rows beside {len(self.second)} second segments and "
                f"{len(self.targets)} targets; should be as many, and some"
            )
        if int(self.starts[-1]) != len(self.tokens) or bool((self.starts.diff() < 1).any()):
            raise DataError("starts: should rise from 0 to the number of tokens")

    def __len__(self) -> int:
        return len(self.second)

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor], truth: Truth) -> TextSplit:
        """The split of what `impcore.data.text.encode` made."""
        return cls(arrays["tokens"], arrays["starts"], arrays["second"], arrays["targets"], truth)


@dataclass(frozen=True, eq=False)
class TextDataset:
    """A training and a test split, and the vocabulary's numbers.

    Attributes:
        name: the name it was loaded under.
        task: "classification", "regression", "extractive_qa" or "mlm".
        num_classes: of a classification; 1 for the other tasks.
        vocab_size, pad, mask: the number of tokens, the padding and the masking token.
        special: tokens that are never masked.
        train, test: the splits.
        source: hash of the texts, beyond what the tokens say of them.
    """

    name: str
    task: str
    num_classes: int
    vocab_size: int
    pad: int
    mask: int
    special: tuple[int, ...]
    train: TextSplit
    test: TextSplit
    source: str

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise DataError(f"{self.name}: no task {self.task!r}; valid: {', '.join(TASKS)}")
        for part, split in (("train", self.train), ("test", self.test)):
            low, high = int(split.tokens.min()), int(split.tokens.max())
            if low < 0 or high >= self.vocab_size:
                raise DataError(
                    f"{self.name}: {part} tokens span {low} to {high}, outside 0 to "
                    f"{self.vocab_size - 1}"
                )
            if self.task == "classification":
                low, high = int(split.targets.min()), int(split.targets.max())
                if low < 0 or high >= self.num_classes:
                    raise DataError(
                        f"{self.name}: {part} labels span {low} to {high}, outside 0 to "
                        f"{self.num_classes - 1}"
                    )

    @property
    def longest(self) -> int:
        """Tokens in the longest row."""
        return max(int(split.starts.diff().max()) for split in (self.train, self.test))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of tokens, targets, texts and metrics, not of the name."""
        truths = [[part.truth.metrics, dict(part.truth.parts)] for part in (self.train, self.test)]
        facts = [self.task, self.num_classes, self.vocab_size, self.pad, self.mask, self.special]
        digest = hashlib.sha256(json.dumps([facts, truths, self.source]).encode())
        for split in (self.train, self.test):
            for tensor in (split.tokens, split.starts, split.second, split.targets):
                digest.update(f"{tensor.dtype} {list(tensor.shape)} ".encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()
