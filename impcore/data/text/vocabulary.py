"""A fast WordPiece tokenizer and the tokens that have a meaning of their own.

Invariant: the tokenizer neither truncates nor pads, and its fingerprint covers all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from impcore import pretrained
from impcore.errors import MissingExtraError, TokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer, how many tokens it knows, and the numbers of the special ones."""

    tokenizer: Tokenizer
    size: int
    pad: int
    cls: int
    sep: int
    mask: int

    @property
    def special(self) -> tuple[int, ...]:
        """The tokens that stand for no text, in order: masked language modelling hides none."""
        return tuple(sorted({self.pad, self.cls, self.sep, self.mask}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex."""
        content = f"{self.tokenizer.to_str()} {self.size} {self.pad} {self.cls} {self.sep}"
        return hashlib.sha256(f"{content} {self.mask}".encode()).hexdigest()


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens of BERT, numbers 0 to 4 of a vocabulary made here."""


def train(texts: Sequence[str], size: int) -> Vocabulary:
    """A WordPiece vocabulary of at most `size` tokens, as uncased BERT's, learned from `texts`.

    The same texts give the same vocabulary: the trainer of tokenizers numbers letters in the order
    of a hash table, and breaks ties by these numbers, so they are all given to it in order.

    Raises:
        MissingExtraError: tokenizers is not installed.
    """
    try:
        from tokenizers import trainers
    except ImportError as error:
        raise MissingExtraError(
            "data.name: the prose needs Hugging Face tokenizers, which is not installed: "
            "pip install 'impcore[hf]'"
        ) from error
    learner = _wordpiece({})
    letters = sorted({c for text in texts for c in learner.normalizer.normalize_str(text)} - {" "})
    ordered = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=ordered, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    found = learner.get_vocab()
    return of(_wordpiece(found), len(found), (SPECIAL[0], *SPECIAL[2:]))


def _wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[1]))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([name for name in SPECIAL if name in vocabulary])
    return made


def of(tokenizer: Tokenizer, size: int, names: tuple[str, str, str, str]) -> Vocabulary:
    """The vocabulary of a tokenizer whose pad, cls, sep and mask tokens are `names`."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Vocabulary(tokenizer, size, *map(tokenizer.token_to_id, names))


def load(place: str) -> Vocabulary:
    """The tokenizer of a directory or a hub name, as transformers' AutoTokenizer finds it.

    Code that comes with a tokenizer is never run.

    Raises:
        MissingExtraError: transformers is not installed.
        TokenizerError: there is no fast tokenizer with BERT's special tokens and others.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "data.tokenizer: text needs Hugging Face transformers, which is not installed: "
            "pip install 'impcore[hf]'"
        ) from error
    source = pretrained.source(place)
    if source is None:
        raise TokenizerError(
            f"tokenizer: {place!r} is not a directory; should hold tokenizer.json or "
            "vocab.txt, or be the name of a model on the hub"
        )
    try:
        # Not None, with which transformers would ask whoever sits at the terminal.
        found = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except Exception as error:  # a malformed file raises a dozen unrelated types there
        why = pretrained.reason(error, source)
        raise TokenizerError(f"tokenizer: {source!r}: {why}") from error
    names = (found.pad_token, found.cls_token, found.sep_token, found.mask_token)
    if not getattr(found, "is_fast", False) or None in names:
        raise TokenizerError(
            f"tokenizer: {source!r} is a {type(found).__name__}; should be a fast tokenizer with "
            "tokens for padding, classification, separation and masking"
        )
    if len(found) <= len(set(found.all_special_ids)):  # what transformers makes without its files
        raise TokenizerError(
            f"tokenizer: {source!r} holds no vocabulary; should hold tokenizer.json or vocab.txt"
        )
    return of(found.backend_tokenizer, len(found), names)
