"""Extractive question answering: the best span of a window, and SQuAD's exact match and F1.

Invariant: answers are normalised and compared as the official script of SQuAD v1.1 does
(evaluate-v1.1.py, Rajpurkar et al. 2016): lower case, no ASCII punctuation, no articles, single
spaces; per question the best over the right answers, then the mean over the questions.
"""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from impcore.data.truth import Reading

MAX_ANSWER = 30
"""The longest answer in tokens, as BERT's own run_squad.py has it."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def best_spans(scores: Tensor, context: Tensor) -> Tensor:
    """The best span of each window, as float64 [B, 3]: score, first token, last token.

    `scores` [B, L, 2] are those of start and end, `context` bool [B, L] says where an answer may
    be. The span maximises start + end score over all spans of at most MAX_ANSWER tokens within the
    context. That search is exact: run_squad.py looks at its 20 best starts and ends only. Nor must
    the first token be in the window that shows most of its surroundings, as there. The first span
    wins a tie.
    """
    start, end = scores.double().masked_fill(~context[:, :, None], -torch.inf).unbind(2)
    beyond = end.new_full((len(end), MAX_ANSWER - 1), -torch.inf)
    ends = torch.cat((end, beyond), 1).unfold(1, MAX_ANSWER, 1)  # [B, L, tokens - 1]
    best, at = (start[:, :, None] + ends).flatten(1).max(1)
    first = at // MAX_ANSWER
    return torch.stack((best, first.double(), (first + at % MAX_ANSWER).double()), 1)


def score(spans: np.ndarray, reading: Reading) -> dict[str, float]:
    """Exact match and F1, as fractions, of the best spans [windows, 3] of every window.

    A question's prediction is the span with the highest score among its windows, the first of equal
    ones. Both are also what SQuAD's script prints as percentages; accuracy is the exact match.
    """
    texts = predictions(spans, reading)
    exact = overlap = 0.0
    for question, text in zip(reading.questions, texts, strict=True):
        exact += max(float(normalise(text) == normalise(a)) for a in question.answers)
        overlap += max(token_f1(text, answer) for answer in question.answers)
    count = len(reading.questions)
    return {"f1": overlap / count, "exact_match": exact / count, "accuracy": exact / count}


def predictions(spans: np.ndarray, reading: Reading) -> list[str]:
    """The predicted text of each question."""
    best: dict[int, int] = {}
    for window, question in enumerate(reading.question.tolist()):
        if question not in best or spans[window, 0] > spans[best[question], 0]:
            best[question] = window
    texts = []
    for number, question in enumerate(reading.questions):
        window = best[number]
        first, last = (int(reading.starts[window] + spans[window, i]) for i in (1, 2))
        texts.append(question.context[reading.offsets[first, 0] : reading.offsets[last, 1]])
    return texts


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(prediction: str, answer: str) -> float:
    """F1 over the words of two normalised texts, as multisets; 0 if they share none."""
    guess, truth = normalise(prediction).split(), normalise(answer).split()
    shared = sum((Counter(guess) & Counter(truth)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(guess), shared / len(truth)
    return 2 * precision * recall / (precision + recall)
