from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.data import load_text
from impcore.data.text import prose

from .conftest import WORDS


def letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def test_a_fifth_is_held_out_and_nothing_of_it_is_trained_on() -> None:
    found = prose.read()
    train, held = found.paragraphs
    assert len(train) > 1000
    assert 0.15 < len(held) / (len(train) + len(held)) < 0.25
    assert not {letters(p) for p in train} & {letters(p) for p in held}
    first, second = ({letters(s.text) for s in part} for part in found.sentences)
    assert not first & second
    assert (len(first), len(second)) == tuple(map(len, found.sentences))
    text = "".join(letters(p) for p in train)
    assert not [sentence for sentence in second if sentence in text]


def test_sentences_are_prose() -> None:
    for sentence in (*prose.read().sentences[0], *prose.read().sentences[1]):
        assert 6 <= len(sentence.text.split()) <= 40
        assert "::=" not in sentence.text
        assert ">>>" not in sentence.text


TOPICS = {
    f"article{n}": "Title\n*****\n\n"
    + "\n\n".join(f"The {a} {b} {n} ran far on {b} mats." for a, b in pairs)
    for n, pairs in enumerate([[(a, b) for a in WORDS[:5] for b in WORDS[9:16]]] * 3)
}


def test_what_comes_again_is_left_out() -> None:
    once = prose.split({"a": TOPICS["article0"]})
    twice = prose.split({"a": TOPICS["article0"], "b": TOPICS["article0"]})
    assert once == twice
    assert once.paragraphs[0][0] == "Title"


def test_training_has_no_paragraph_or_sentence_with_a_held_out_sentence_in_it() -> None:
    held = prose.split(TOPICS).sentences[1][0].text
    longer = held.replace("The", "Then the", 1)
    examples = "\n\n".join(f">>> say {n} {held}\n\nNumber {n} is here: {longer}" for n in range(40))
    found = prose.split({**TOPICS, "zz": examples})
    assert letters(held) in {letters(s.text) for s in found.sentences[1]}
    train = [*found.paragraphs[0], *(s.text for s in found.sentences[0])]
    assert not [text for text in train if letters(held) in letters(text)]


@given(st.integers(0, 10**6))
def test_order_pairs_each_sentence_with_its_words_shuffled(seed: int) -> None:
    train, _ = prose.split(TOPICS).sentences
    made = prose.order(train, random.Random(seed))
    assert made.targets == [0, 1] * (len(made) // 2)
    for plain, moved in zip(made.first[::2], made.first[1::2], strict=True):
        one, other = plain.split(), moved.split()
        assert one != other
        assert sorted(one) == sorted(other)
        assert (one[0], one[-1]) == (other[0], other[-1])


@given(st.integers(0, 10**6))
def test_pairs_are_of_one_article_or_of_two(seed: int) -> None:
    train, _ = prose.split(TOPICS).sentences
    source = {sentence.text: sentence.article for sentence in train}
    made = prose.pairs(train, random.Random(seed))
    assert made.second is not None
    for one, other, same in zip(made.first, made.second, made.targets, strict=True):
        assert (source[one] == source[other]) == bool(same)
        assert one != other
    assert sum(made.targets) * 2 == len(made)


def test_groups_are_of_articles_that_are_there() -> None:
    from pydoc_data.topics import topics

    grouped = [article for group in prose.GROUPS.values() for article in group]
    assert len(grouped) == len(set(grouped))
    assert len(set(grouped) & set(topics)) > 0.9 * len(grouped)
    train, test = prose.examples("prose_topic")
    assert set(train.targets) == set(test.targets) == set(range(len(prose.GROUPS)))


@pytest.mark.parametrize("name", ["prose", *prose.TASKS])
def test_the_data_sets_are_the_same_each_time(name: str) -> None:
    pytest.importorskip("tokenizers")
    found = load_text(name)
    assert found.fingerprint == load_text(name).fingerprint
    assert found.longest <= prose.MAX_LENGTH
    assert found.vocab_size == prose.VOCABULARY
    assert found.task == ("mlm" if name == "prose" else "classification")
