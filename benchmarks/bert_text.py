"""What the text of a training step costs: its tokens, made once, and its batches.

The sentences are words of the prose that ships with Python, paired and cut to LENGTH tokens, by the
tokenizer, the cache and the batches that a run uses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from time import perf_counter

import torch

from impcore.data import TextBatches, TextDataset
from impcore.data.text import load, prose
from impcore.data.text.examples import Examples
from impcore.data.text.vocabulary import Vocabulary, train

LENGTH, BATCH = 128, 32
ROWS = 256 * BATCH
EPOCHS = 30
"""A run of bert_mnli.toml: 10 trainings of 3 epochs on the tokens that are made once."""
WORDS = 45
"""Of a sentence: two of them fill a row."""


def vocabulary() -> Vocabulary:
    """The WordPiece vocabulary of the prose."""
    return train(prose.read().paragraphs[0], prose.VOCABULARY)


def examples(rows: int) -> Examples:
    """Pairs of WORDS words each, all different, with two classes."""
    words = cycle(" ".join(prose.read().paragraphs[0]).split())
    sentences = [" ".join([f"{number}", *islice(words, WORDS - 1)]) for number in range(2 * rows)]
    return Examples(sentences[::2], sentences[1::2], [number % 2 for number in range(rows)])


class Text:
    """`rows` rows in batches on `device`; what their tokens cost, and what a batch costs."""

    def __init__(self, rows: int, device: torch.device) -> None:
        words, pairs, steps = vocabulary(), examples(rows), rows / BATCH

        def read() -> TextDataset:
            split = load.sentences(pairs, words, LENGTH)
            found = load.dataset("pairs", "classification", words, (split, split), "", 2)
            assert found.fingerprint  # a run hashes the tokens too
            return found

        with _empty_cache():
            self.made, dataset = _timed(read, steps)
            self.found, dataset = _timed(read, steps)
        split = dataset.train
        self.width = float(split.starts.diff().double().mean())
        self.batches = TextBatches(split, dataset, batch_size=BATCH, device=device)

    def read(self) -> None:
        """A whole epoch of batches, the shuffle included."""
        for _ in self.batches.epoch(0):
            pass


def _timed(read: Callable[[], TextDataset], steps: float) -> tuple[float, TextDataset]:
    """Milliseconds for the rows of one step, and what was read."""
    begin = perf_counter()
    found = read()
    return (perf_counter() - begin) * 1e3 / steps, found


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache of tokens that goes away."""
    before = os.environ.get("IMPCORE_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IMPCORE_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("IMPCORE_CACHE")
            if before is not None:
                os.environ["IMPCORE_CACHE"] = before
