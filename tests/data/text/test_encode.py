from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impcore.data.text import encode
from impcore.data.text.examples import Examples, Passage
from impcore.data.text.vocabulary import Vocabulary
from impcore.errors import DataError

from .conftest import CONTEXT, WORDS

TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), min_size=1, max_size=6)


def rows(arrays: encode.Arrays) -> list[list[int]]:
    starts = arrays["starts"]
    return [arrays["tokens"][a:b].tolist() for a, b in pairwise(starts)]


def ids(vocabulary: Vocabulary, text: str) -> list[int]:
    found: list[int] = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
    return found


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 25))
def test_the_longer_sentence_is_cut_token_by_token(first: int, second: int, room: int) -> None:
    a, b = first, second
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    assert encode.shortened(first, second, room) == (a, b)


@settings(max_examples=40)
@given(TEXTS, st.booleans(), st.integers(5, 16))
def test_rows_are_marked_and_cut(
    words: Vocabulary, texts: list[str], pair: bool, max_length: int
) -> None:
    second = texts[::-1] if pair else None
    made = encode.sentences(Examples(texts, second, [0.5] * len(texts)), words, max_length)
    assert made["targets"].dtype == np.float32
    for number, row in enumerate(rows(made)):
        first = ids(words, texts[number])
        place = int(made["second"][number])
        assert len(row) <= max_length
        assert row[0] == words.cls
        assert row[-1] == words.sep
        if not pair:
            assert place == len(row)
            assert row[1:-1] == first[: max_length - 2]
            continue
        other = ids(words, texts[::-1][number])
        a, b = encode.shortened(len(first), len(other), max_length - 3)
        assert row == [words.cls, *first[:a], words.sep, *other[:b], words.sep]
        assert row[place - 1] == words.sep
        assert place == a + 2


def passage(answer: str, start: int | None = None, context: str = CONTEXT) -> Passage:
    begin = context.find(answer) if start is None else start
    return Passage("q", "who sat ?", context, (answer,), begin)


@pytest.mark.parametrize(("max_length", "stride"), [(40, 10), (14, 4), (12, 3), (11, 1)])
@pytest.mark.parametrize("answer", ["A dog", "The", "ran.", "big red house was far", "og s"])
def test_windows_cover_the_context_and_find_the_answer(
    words: Vocabulary, max_length: int, stride: int, answer: str
) -> None:
    asked = passage(answer)
    made = encode.windows([asked], words, max_length, stride)
    context = words.tokenizer.encode(CONTEXT, add_special_tokens=False)
    whole = [
        n for n, (a, b) in enumerate(context.offsets)
        if b > asked.answer_start and a < asked.answer_start + len(answer)
    ]  # fmt: skip
    room = max_length - len(ids(words, asked.question)) - 3
    seen: set[int] = set()
    for number, row in enumerate(rows(made)):
        place, begin = int(made["second"][number]), number * stride
        window = row[place:-1]
        assert window == context.ids[begin : begin + room]
        assert row[:place] == [words.cls, *ids(words, asked.question), words.sep]
        seen |= set(range(begin, begin + len(window)))
        at = int(made["starts"][number])
        spans = made["offsets"][at : at + len(row)].tolist()
        assert spans[place:-1] == [list(span) for span in context.offsets[begin : begin + room]]
        assert not np.any(spans[:place])
        inside = begin <= whole[0] and whole[-1] < begin + len(window)
        expected = [place + whole[0] - begin, place + whole[-1] - begin] if inside else [0, 0]
        assert made["targets"][number].tolist() == expected
    assert seen == set(range(len(context.ids)))


def test_a_question_that_leaves_no_room_is_refused(words: Vocabulary) -> None:
    with pytest.raises(DataError, match=r"'q' has 3 tokens.* leaves 4 of data\.max_length = 10"):
        encode.windows([passage("A dog")], words, 10, 5)


def test_running_text_is_cut_into_whole_rows(words: Vocabulary) -> None:
    made = encode.blocks(["the cat sat", " ", "on a mat", ""], words, 6)
    tokens = ids(words, "the cat sat on a mat")
    expected = [[words.cls, *tokens[:4], words.sep], [words.cls, *tokens[4:], words.sep]]
    assert rows(made) == expected
    assert made["second"].tolist() == [6, 4]


def test_rows_without_anything_to_predict_are_left_out(words: Vocabulary) -> None:
    made = encode.blocks(["[SEP] [PAD] [MASK] [CLS] the cat", "sat on [SEP]"], words, 6)
    assert rows(made) == [[words.cls, *ids(words, "the cat sat on"), words.sep]]
    for lines in (["[SEP] [MASK]"], [" "], []):
        with pytest.raises(DataError, match=f"text: {len(lines)} lines without a token"):
            encode.blocks(lines, words, 6)
