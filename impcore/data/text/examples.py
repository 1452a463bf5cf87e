"""The examples of a text data set before they are tokens: strings and targets.

Invariant: an `Examples` is consistent from the moment it exists, and its fingerprint changes
whenever a text or a target does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from impcore.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Sentences, or pairs of sentences, and their targets.

    Attributes:
        first: one sentence an example.
        second: the sentence that goes with it, or None if there are no pairs.
        targets: classes counted from 0, or numbers.
    """

    first: Sequence[str]
    second: Sequence[str] | None
    targets: Sequence[int] | Sequence[float]

    def __post_init__(self) -> None:
        counts = [len(self.first), len(self.targets)]
        counts += [] if self.second is None else [len(self.second)]
        if len(set(counts)) != 1 or not counts[0]:
            raise DataError(
                f"examples: {counts} sentences and targets; should be as many, and some"
            )

    def __len__(self) -> int:
        return len(self.first)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex."""
        return digest_of([self.first, self.second, self.targets])


@dataclass(frozen=True, eq=False)
class Passage:
    """A question about a context, with its right answers and where the first of them begins."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    answer_start: int


def digest_of(content: object) -> str:
    """SHA-256 in hex of a JSON value."""
    encoded = json.dumps(content, ensure_ascii=False, default=list)
    return hashlib.sha256(encoded.encode("utf-8", "surrogatepass")).hexdigest()
