"""Tiny tokenizers, and files in the official formats of GLUE and SQuAD."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from impcore.data.text import glue, vocabulary

TEXT = "the cat sat on a mat . , ? dog ran far who was big red house and blue"
WORDS = TEXT.split()
HEADERS = {
    "mnli": "index\tpromptID\tgenre\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label",
    "sst2": "sentence\tlabel",
    "stsb": "index\tgenre\tfilename\tsentence1\tsentence2\tscore",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "wnli": "index\tsentence1\tsentence2\tlabel",
    "qnli": "index\tquestion\tsentence\tlabel",
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "rte": "index\tsentence1\tsentence2\tlabel",
    "cola": None,
}
"""The columns of the official files (some that nobody reads are left out)."""


@pytest.fixture(autouse=True)
def cache_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IMPCORE_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def words() -> vocabulary.Vocabulary:
    """A vocabulary that knows WORDS as one token each, and all letters."""
    return vocabulary.train([" ".join(WORDS)] * 5, 150)


@pytest.fixture(scope="session")
def tokenizer(words: vocabulary.Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the same tokenizer, as transformers saves it."""
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tokenizer")
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), vocabulary.SPECIAL, strict=True))
    made = PreTrainedTokenizerFast(
        tokenizer_object=words.tokenizer, **{f"{key}_token": name for key, name in names.items()}
    )
    made.save_pretrained(path)
    return str(path)


def row(name: str, number: int) -> str:
    """A line of a task's file, of the columns of HEADERS."""
    task = glue.TASKS[name]
    label = task.labels[number % len(task.labels)] if task.labels else f"{number % 6}.250"
    header = HEADERS[name]
    columns = list(task.header or ()) if header is None else header.split("\t")
    cells = dict.fromkeys(columns, f"x{number}")
    for place, column in enumerate(task.texts):
        cells[column] = f'the "{WORDS[(number + place) % 10]}" sat , ' + "big red " * (number % 4)
    return "\t".join((cells | {task.label: label})[column] for column in columns)


WriteGlue = Callable[..., Path]


@pytest.fixture
def write_glue(tmp_path: Path) -> WriteGlue:
    """Write a task's official files with `rows` lines in `root`; returns root."""

    def write(name: str, rows: int = 6, end: str = "\n") -> Path:
        task, root = glue.TASKS[name], tmp_path / "glue"
        (root / task.folder).mkdir(parents=True)
        header = HEADERS[name]
        for place, file in enumerate(("train", *(stem for _, stem in task.dev))):
            lines = [] if header is None else [header]
            lines += [row(name, number + 7 * place) for number in range(rows)]
            text = "".join(line + end for line in lines)
            (root / task.folder / f"{file}.tsv").write_bytes(text.encode())
        return root

    return write


CONTEXT = "The big red house was far. A dog sat on the mat, and the cat ran."


def squad_document(context: str = CONTEXT) -> dict:
    """Two questions in the official format; the second answer has two right forms."""
    questions = [("Who sat?", ["A dog"]), ("Who ran?", ["the cat", "cat"])]
    qas = [
        {
            "id": f"q{number}",
            "question": question,
            "answers": [{"text": a, "answer_start": context.find(a)} for a in answers],
        }
        for number, (question, answers) in enumerate(questions)
    ]
    paragraphs = [{"context": context, "qas": qas}]
    return {"version": "1.1", "data": [{"title": "House", "paragraphs": paragraphs}]}


@pytest.fixture
def write_squad(tmp_path: Path) -> Callable[..., Path]:
    """Write both official files; returns their folder."""

    def write(train: object = None, dev: object = None) -> Path:
        root = tmp_path / "squad"
        root.mkdir()
        for name, document in (("train-v1.1.json", train), ("dev-v1.1.json", dev)):
            text = json.dumps(squad_document() if document is None else document)
            (root / name).write_text(text, encoding="utf-8")
        return root

    return write
