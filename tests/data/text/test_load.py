from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from impcore.data import TEXT_DATASETS, load_text
from impcore.data.text import glue, load
from impcore.errors import DataError

from .conftest import CONTEXT, WriteGlue


def test_the_names_are_the_loaders_and_their_tasks_known() -> None:
    assert set(TEXT_DATASETS) == set(load.LOADERS)
    with pytest.raises(DataError, match=r"no text data set 'mnil' \(nearest: 'mnli'\)"):
        load_text("mnil")


@pytest.mark.parametrize("name", glue.TASKS)
def test_glue(name: str, write_glue: WriteGlue, tokenizer: str) -> None:
    root = str(write_glue(name))
    found = load_text(name, root=root, tokenizer=tokenizer)
    assert found.task == TEXT_DATASETS[name]
    assert found.num_classes == max(1, len(glue.TASKS[name].labels))
    assert len(found.train) == 6
    assert found.test.truth.metrics == glue.TASKS[name].metrics
    again = load_text(name, root=Path(root), tokenizer=Path(tokenizer))
    assert again.fingerprint == found.fingerprint
    shorter = load_text(name, root=root, tokenizer=tokenizer, max_length=8)
    assert shorter.longest <= 8 < found.longest
    assert shorter.fingerprint != found.fingerprint


def test_mnli_is_tested_on_both_development_sets(write_glue: WriteGlue, tokenizer: str) -> None:
    found = load_text("mnli", root=str(write_glue("mnli")), tokenizer=tokenizer)
    assert found.test.truth.parts == {"": (0, 6), "_mismatched": (6, 12)}
    assert len(found.test) == 12


def test_another_text_is_another_data_set(write_glue: WriteGlue, tokenizer: str) -> None:
    root = write_glue("rte")
    before = load_text("rte", root=str(root), tokenizer=tokenizer)
    path = root / "RTE" / "train.tsv"
    path.write_text(path.read_text().replace("cat", "dog", 1))
    after = load_text("rte", root=str(root), tokenizer=tokenizer)
    assert before.fingerprint != after.fingerprint
    assert not torch.equal(before.train.tokens, after.train.tokens)


def test_squad(write_squad: Callable[..., Path], tokenizer: str) -> None:
    root = write_squad()
    found = load_text("squad", root=str(root), tokenizer=tokenizer, max_length=16, doc_stride=4)
    reading = found.test.truth.reading
    assert reading is not None
    assert [q.id for q in reading.questions] == ["q0", "q1"]
    for window in range(len(found.test)):
        first, last = found.test.targets[window].tolist()
        if (first, last) == (0, 0):
            continue
        at = reading.starts[window]
        text = CONTEXT[reading.offsets[at + first, 0] : reading.offsets[at + last, 1]]
        assert text == reading.questions[reading.question[window]].answers[0]
    path = root / "dev-v1.1.json"
    document = json.loads(path.read_text())
    document["data"][0]["paragraphs"][0]["qas"][1]["answers"].append(
        {"text": "ran", "answer_start": 0}
    )
    path.write_text(json.dumps(document))
    other = load_text("squad", root=str(root), tokenizer=tokenizer, max_length=16, doc_stride=4)
    assert torch.equal(other.test.tokens, found.test.tokens)
    assert other.fingerprint != found.fingerprint


def test_wikitext(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "wiki.train.raw").write_text(" = Cats = \n\n the cat sat on a mat\n" * 9)
    (tmp_path / "wiki.valid.raw").write_text("a dog ran\n")
    found = load_text("wikitext", root=str(tmp_path), tokenizer=tokenizer, max_length=12)
    assert found.task == "mlm"
    assert set(found.train.starts.diff().tolist()[:-1]) == {12}
    assert found.special == (0, 2, 3, 4)


def test_without_a_tokenizer_the_key_is_named(write_glue: WriteGlue) -> None:
    with pytest.raises(DataError, match="rte: no tokenizer given: set `tokenizer`"):
        load_text("rte", root=str(write_glue("rte")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 7}, "max_length: 7 is not an integer of at least 8"),
        ({"max_length": 0}, "max_length: 0 is not"),
        ({"source": "hubb"}, "source: 'hubb' is not one of files, hub"),
        ({"doc_stride": True}, "doc_stride: True is not an integer of at least 1"),
    ],
)
def test_options_are_checked_before_any_file_is_read(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_text("squad", root="/nowhere", **options)
