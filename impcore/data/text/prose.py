"""English prose that every Python ships, and tasks made from it: real text without a download.

The text is `pydoc_data.topics`, the articles behind `help()`: parts of the Python language and
library references, some 465 KB with code and grammar between the prose. It differs a little between
Python versions, and so do the data sets: their fingerprints tell. The tasks are ours, made so that
a small BERT can be pre-trained and then pruned on several tasks offline. They are no benchmark: no
published number belongs to them, and labels come from the text itself, not from people.

    prose         masked language modelling on the paragraphs
    prose_order   is the word order of this sentence disturbed?
    prose_pairs   are these two sentences from the same article?
    prose_topic   which group of articles is this sentence from: GROUPS

Invariant: one fifth of the text is held out, in runs of RUN paragraphs, for all alike. No
held-out paragraph or sentence, compared by its letters, is in any training split, that of `prose`
included; so pre-training has not seen what a task is tested on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from impcore.data.text.examples import Examples

RUN = 8
"""Paragraphs that follow one another into the same split."""
HELD_OUT = 5
"""Every so many runs one is held out."""
VOCABULARY = 2000
"""Tokens of the WordPiece vocabulary that is learned from the training paragraphs."""
MAX_LENGTH = 64
GROUPS: Mapping[str, tuple[str, ...]] = {
    "statements": (
        "assert", "assignment", "async", "await", "break", "class", "compound", "continue", "del",
        "execmodel", "global", "import", "nonlocal", "pass", "raise", "return", "yield",
    ),
    "data model": (
        "attribute-access", "customization", "objects", "specialattrs", "specialnames", "types",
    ),
    "built-in types": (
        "formatstrings", "numeric-types", "sequence-types", "string-methods", "strings",
        "typesfunctions", "typesmapping", "typesmethods", "typesmodules", "typesseq",
    ),
    "debugger": ("debugger",),
}  # fmt: skip
"""Class of prose_topic -> articles; sentences of other articles are left out of it."""

_BREAK = re.compile(r"\n[ \t]*\n")
_MARKUP = re.compile(r"[*`|]")
_BULLET = re.compile(r"[-*] +")
_END = re.compile(r"(?<=[.!?:;]) +(?=[A-Z\"(])")
_RULE = frozenset("*=-^~\"'")
_WORDS = (6, 40)


@dataclass(frozen=True)
class Sentence:
    """A sentence, its article, and its place in the whole text."""

    text: str
    article: str
    number: int


@dataclass(frozen=True)
class Prose:
    """Each split as paragraphs and as the sentences in them: [0] for training, [1] held out."""

    paragraphs: tuple[list[str], list[str]]
    sentences: tuple[list[Sentence], list[Sentence]]


@cache
def read() -> Prose:
    """The text of this Python, split."""
    from pydoc_data.topics import topics

    return split(topics)


def split(topics: Mapping[str, str]) -> Prose:
    """`topics`, article -> text, as prose; a paragraph or sentence that comes again is left out."""
    made = Prose(([], []), ([], []))
    seen: set[str] = set()
    number = 0
    for article in sorted(topics):
        for paragraph in _paragraphs(topics[article]):
            if _letters(paragraph) in seen:
                continue
            seen.add(_letters(paragraph))
            part = int(number // RUN % HELD_OUT == HELD_OUT - 1)
            made.paragraphs[part].append(paragraph)
            for text in _sentences(paragraph):
                made.sentences[part].append(Sentence(text, article, number))
            number += 1
    return _disjoint(made)


def _disjoint(made: Prose) -> Prose:
    """Without paragraphs and sentences of training that are held out too, or come twice."""
    held = {_letters(sentence.text) for sentence in made.sentences[1]}
    # A sentence may also be a part of a longer one, or of what is no sentence. Most are in none.
    letters = [_letters(paragraph) for paragraph in made.paragraphs[0]]
    whole = "\n".join(letters)
    again = [sentence for sentence in held if sentence in whole]

    def fresh(text: str) -> bool:
        return not any(sentence in text for sentence in again)

    train = [p for p, text in zip(made.paragraphs[0], letters, strict=True) if fresh(text)]
    seen = set(held)
    first = [s for s in made.sentences[0] if fresh(_letters(s.text)) and _new(s.text, seen)]
    seen.clear()
    second = [s for s in made.sentences[1] if _new(s.text, seen)]
    return Prose((train, made.paragraphs[1]), (first, second))


def _new(text: str, seen: set[str]) -> bool:
    letters = _letters(text)
    if letters in seen:
        return False
    seen.add(letters)
    return True


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of an article on one line each, code included, without headings' rules."""
    for block in _BREAK.split(text):
        lines = [line.strip() for line in block.split("\n")]
        lines = [line for line in lines if line and not set(line) <= _RULE]
        if lines:
            yield " ".join(lines)


def _sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph; code and grammar are none."""
    if "::=" in paragraph or ">>>" in paragraph:
        return
    for text in _END.split(_MARKUP.sub("", _BULLET.sub("", paragraph, count=1))):
        count = len(text.split())
        letters = sum(c.isalpha() or c == " " for c in text)
        proper = text[:1].isupper() and text[-1:] in ".!?:;)" and letters > 0.85 * len(text)
        if proper and _WORDS[0] <= count <= _WORDS[1]:
            yield text


def order(sentences: Sequence[Sentence], rng: random.Random) -> Examples:
    """Each sentence as it is (class 0), and with its words in another order (class 1).

    The first word, which begins with a capital, and the last, which ends with a stop, stay.
    """
    texts = []
    for sentence in sentences:
        first, *inner, last = sentence.text.split()
        moved = rng.sample(inner, len(inner))
        if moved != inner:
            texts += [" ".join([first, *words, last]) for words in (inner, moved)]
    return Examples(texts, None, [n % 2 for n in range(len(texts))])


def pairs(sentences: Sequence[Sentence], rng: random.Random) -> Examples:
    """Each sentence with one of another article (class 0), and with one of its own (class 1)."""
    first, second = [], []
    by_article: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        by_article.setdefault(sentence.article, []).append(sentence)
    for sentence in sentences:
        own = [other for other in by_article[sentence.article] if other != sentence]
        others = [other for other in sentences if other.article != sentence.article]
        if not own or not others:
            continue
        near = sorted(own, key=lambda other: abs(other.number - sentence.number))[:4]
        first += [sentence.text, sentence.text]
        second += [rng.choice(others).text, rng.choice(near).text]
    return Examples(first, second, [n % 2 for n in range(len(first))])


def topic(sentences: Sequence[Sentence], rng: random.Random) -> Examples:
    """Each sentence of the GROUPS, with the number of its group."""
    classes = {article: n for n, group in enumerate(GROUPS.values()) for article in group}
    chosen = [sentence for sentence in sentences if sentence.article in classes]
    return Examples([s.text for s in chosen], None, [classes[s.article] for s in chosen])


TASKS: Mapping[str, tuple[Callable[[Sequence[Sentence], random.Random], Examples], int]] = {
    "prose_order": (order, 2),
    "prose_pairs": (pairs, 2),
    "prose_topic": (topic, len(GROUPS)),
}
"""Name -> what makes its examples, and the number of classes."""


def examples(name: str) -> tuple[Examples, Examples]:
    """The training and the held-out examples of a task; the same in every run."""
    make, _ = TASKS[name]
    train, test = read().sentences
    return make(train, random.Random(f"{name} train")), make(test, random.Random(f"{name} test"))
