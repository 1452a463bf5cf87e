"""SQuAD v1.1 (Rajpurkar et al. 2016) from its official JSON files.

Invariant: every question that comes out has a context and an answer; a fault is a DataError that
names the file and the place in it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impcore.data import places
from impcore.data.text.examples import Passage
from impcore.errors import DataError

TRAIN, DEV = "train-v1.1.json", "dev-v1.1.json"
_HOW = (
    f"to get them, put {TRAIN} and {DEV} of https://rajpurkar.github.io/SQuAD-explorer there, or "
    'set data.source = "hub"'
)
_HALF = re.compile("[\ud800-\udfff]")  # JSON can spell it, UTF-8 cannot
_log = logging.getLogger(__name__)


def read(root: str | Path | None) -> tuple[list[Passage], list[Passage]]:
    """The questions for training and those of the development set.

    Raises:
        DataError: a file is missing or malformed.
    """
    path = places.find("squad", root, "", (TRAIN, DEV), _HOW)
    return with_answers(_questions(path / TRAIN), str(path / TRAIN)), _questions(path / DEV)


def with_answers(questions: list[Passage], where: str) -> list[Passage]:
    """Those whose first answer stands where it is said to; BERT's run_squad.py skips the others."""
    kept = [
        q
        for q in questions
        if q.answer_start >= 0 and q.context.startswith(q.answers[0], q.answer_start)
    ]
    if len(kept) < len(questions):
        _log.warning(
            "%s: %d of %d questions are left out: their answer is not where it is said to be",
            *(where, len(questions) - len(kept), len(questions)),
        )
    if not kept:
        raise DataError(f"{where}: has no question whose answer is in its context")
    return kept


def _questions(path: Path) -> list[Passage]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of 5,000 digits
        raise DataError(f"{path}: is not JSON: {error}") from error
    questions = list(_walk(document, str(path)))
    if not questions:
        raise DataError(f"{path}: has no questions")
    return questions


def _walk(document: object, path: str) -> Iterator[Passage]:
    for a, article in enumerate(_get(document, "data", list, path)):
        where = f"{path}, data[{a}]"
        for p, paragraph in enumerate(_get(article, "paragraphs", list, where)):
            place = f"{where}.paragraphs[{p}]"
            context = _get(paragraph, "context", str, place)
            for q, entry in enumerate(_get(paragraph, "qas", list, place)):
                yield _passage(entry, context, f"{place}.qas[{q}]")


def _passage(entry: object, context: str, where: str) -> Passage:
    answers = _get(entry, "answers", list, where)
    if not answers:
        raise DataError(f"{where}: has no answer; SQuAD v2 has such questions, v1.1 has none")
    texts = tuple(
        _get(answer, "text", str, f"{where}.answers[{i}]") for i, answer in enumerate(answers)
    )
    return Passage(
        id=_get(entry, "id", str, where),
        question=_get(entry, "question", str, where).strip(),
        context=context,
        answers=texts,
        answer_start=_get(answers[0], "answer_start", int, f"{where}.answers[0]"),
    )


def _get(node: object, key: str, kind: type, where: str) -> Any:
    value = node.get(key) if isinstance(node, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        found = "missing" if value is None else f"a {type(value).__name__}"
        raise DataError(f"{where}: {key!r} is {found}; should be a {kind.__name__}")
    if isinstance(value, str) and _HALF.search(value):
        raise DataError(f"{where}: {key!r} holds half of a surrogate pair, which is no character")
    return value
