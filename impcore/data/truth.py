"""What the predictions on a split are judged by, besides the targets that come with its batches.

Invariant: everything here is in the order of the split, which is the order of `eval_batches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Question:
    """A question's passage, and every answer that counts as right."""

    id: str
    context: str
    answers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """The questions behind the windows of an extractive question answering split.

    Attributes:
        questions: one entry a question.
        question: int64 [windows], the question of each window; several windows may share one.
        starts: int64 [windows + 1], where each window's tokens begin in `offsets`.
        offsets: int32 [tokens, 2], where each token begins and ends in its context, as in
            context[begin:end]; (0, 0) for a token that is not of the context.
    """

    questions: tuple[Question, ...]
    question: NDArray[np.int64]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Truth:
    """How a split is judged.

    Attributes:
        metrics: names in `impcore.imp.metrics.METRICS`, the most telling first.
        parts: what is judged separately, as suffix of the metrics' names -> (begin, end) as in
            examples[begin:end]; {} means all examples together, without a suffix.
        reading: of extractive question answering only.
    """

    metrics: tuple[str, ...] = ("accuracy",)
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reading: Reading | None = None
