from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from impcore.data.text import squad
from impcore.errors import DataError

from .conftest import CONTEXT, squad_document


def test_questions_with_their_answers(write_squad: Callable[..., Path]) -> None:
    train, dev = squad.read(write_squad())
    assert [q.answers for q in dev] == [("A dog",), ("the cat", "cat")]
    assert [q.answer_start for q in train] == [CONTEXT.find("A dog"), CONTEXT.find("the cat")]


def test_answers_that_are_elsewhere_are_left_out_of_training_only(
    write_squad: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    document = squad_document()
    document["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] += 1
    with caplog.at_level(logging.WARNING):
        train, dev = squad.read(write_squad(document, document))
    assert (len(train), len(dev)) == (1, 2)
    assert "1 of 2 questions are left out" in caplog.text


def _broken(change: Callable[[Any], object]) -> Any:
    document = squad_document()
    change(document["data"][0]["paragraphs"][0])
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"train-v1\.1\.json: 'data' is missing; should be a list"),
        ({"data": []}, "has no questions"),
        (_broken(lambda p: p.pop("context")), r"data\[0\]\.paragraphs\[0\]: 'context' is missing"),
        (_broken(lambda p: p["qas"][1].update(answers=[])), r"qas\[1\]: has no answer"),
        (_broken(lambda p: p["qas"][1].update(id=7)), r"qas\[1\]: 'id' is a int; should be a str"),
        (
            _broken(lambda p: p["qas"][0]["answers"][0].update(answer_start=True)),
            r"qas\[0\]\.answers\[0\]: 'answer_start' is a bool",
        ),
        (
            _broken(lambda p: p["qas"][1].update(question="Who \ud83d?")),
            r"qas\[1\]: 'question' holds half of a surrogate pair",
        ),
    ],
)
def test_faults_are_named_by_file_and_place(
    write_squad: Callable[..., Path], document: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        squad.read(write_squad(document))


def test_what_is_no_json_is_named_by_its_line(write_squad: Callable[..., Path]) -> None:
    root = write_squad()
    path = root / squad.DEV
    path.write_text(json.dumps(squad_document(), indent=1)[:-40])
    with pytest.raises(DataError, match=r"dev-v1\.1\.json, line \d\d+: is not JSON"):
        squad.read(root)
    path.write_bytes(b'{"data": "\xff"}')
    with pytest.raises(DataError, match="is not JSON"):
        squad.read(root)
    path.write_text('{"data": ' + "9" * 5000 + "}")
    with pytest.raises(DataError, match=r"dev-v1\.1\.json: is not JSON: Exceeds the limit"):
        squad.read(root)
    path.unlink()
    with pytest.raises(DataError, match=r"missing from .*; to get them"):
        squad.read(root)


def test_an_answer_is_not_counted_from_the_end(write_squad: Callable[..., Path]) -> None:
    def behind(paragraph: dict) -> None:
        answer = paragraph["qas"][0]["answers"][0]
        answer["answer_start"] -= len(paragraph["context"])

    train, dev = squad.read(write_squad(_broken(behind)))
    assert [q.id for q in train] == ["q1"]
    assert [q.id for q in dev] == ["q0", "q1"]
