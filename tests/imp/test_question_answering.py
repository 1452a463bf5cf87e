from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.data.truth import Question, Reading
from impcore.imp import question_answering


@given(st.integers(1, 40), st.integers(0, 2**31), st.booleans())
def test_the_best_span_by_brute_force(length: int, seed: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (2, length, 2), generator=generator).float()
    if not ties:
        scores += torch.rand(2, length, 2, generator=generator)
    context = torch.rand(2, length, generator=generator) < 0.7
    context[:, 0] = True
    found = question_answering.best_spans(scores, context).tolist()
    for row, (best, first, last) in enumerate(found):
        spans = [
            (float(scores[row, i, 0].double() + scores[row, j, 1].double()), -i, -j)
            for i, j in itertools.combinations_with_replacement(range(length), 2)
            if j - i < question_answering.MAX_ANSWER and context[row, i] and context[row, j]
        ]
        assert (best, -first, -last) == max(spans)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Denver Broncos!", "denver broncos"),
        ("an apple, a day", "apple day"),
        ("Theatre", "theatre"),
        ("$1,000.50", "100050"),
        ("’the’", "’ ’"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_the_official_script_does(text: str, normal: str) -> None:
    assert question_answering.normalise(text) == normal


@pytest.mark.parametrize(
    ("guess", "answer", "value"),
    [("the cat", "a cat", 1.0), ("big cat", "cat", 2 / 3), ("dog", "cat", 0.0), ("", "cat", 0.0),
     ("cat cat", "cat", 2 / 3), ("one two three", "two three four five", 4 / 7)],
)  # fmt: skip
def test_f1_over_words(guess: str, answer: str, value: float) -> None:
    assert question_answering.token_f1(guess, answer) == pytest.approx(value)


def test_a_question_takes_its_best_window_and_its_kindest_answer() -> None:
    context = "Paris is big. So is Rome."
    questions = (
        Question("1", context, ("Rome", "rome.")),
        Question("2", context, ("very big", "Paris is big")),
    )
    # Two windows of the first question, one of the second; token 0 of each is no context.
    offsets = np.array(
        [(0, 0), (0, 5), (6, 8), (0, 0), (17, 19), (20, 24), (0, 0), (0, 5), (9, 12)]
    )
    found = Reading(questions, np.array([0, 0, 1]), np.array([0, 3, 6, 9]), offsets)
    spans = np.array([[1.0, 1, 1], [2.0, 2, 2], [0.5, 2, 2]])
    assert question_answering.predictions(spans, found) == ["Rome", "big"]
    assert question_answering.score(spans, found) == {
        "accuracy": 0.5, "f1": pytest.approx((1 + 2 / 3) / 2), "exact_match": 0.5
    }  # fmt: skip
    spans[0, 0] = 2.0  # of two equal windows the first
    assert question_answering.predictions(spans, found)[0] == "Paris"
