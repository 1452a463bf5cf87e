from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from impcore.data import load_text
from impcore.data.text import glue, hub, squad
from impcore.errors import DataError

from .conftest import WriteGlue

datasets = pytest.importorskip("datasets")


def saved(path: Path, parts: dict[str, dict[str, list]]) -> Path:
    made = {name: datasets.Dataset.from_dict(columns) for name, columns in parts.items()}
    datasets.DatasetDict(made).save_to_disk(path)
    return path


def as_on_the_hub(name: str, root: Path) -> dict[str, dict[str, list]]:
    """What the official files under `root` hold, in the hub's columns and splits."""
    task = glue.TASKS[name]
    train, dev = glue.read(task, root)
    names = {suffix: stem.replace("dev", "validation") for suffix, stem in task.dev}
    parts = {"train": train} | {names[suffix]: examples for suffix, examples in dev.items()}
    made = {}
    for part, examples in parts.items():
        texts = [examples.first, *([] if examples.second is None else [examples.second])]
        columns = dict(zip(task.hub_texts or task.texts, texts, strict=True))
        made[part] = columns | {"label": examples.targets}
    return made


@pytest.mark.parametrize("name", ["mnli", "stsb", "cola", "mrpc"])
def test_the_hub_gives_what_the_official_files_give(
    name: str, write_glue: WriteGlue, tmp_path: Path, tokenizer: str
) -> None:
    root = write_glue(name)
    saved(tmp_path / "hub" / name, as_on_the_hub(name, root))
    files = load_text(name, root=str(root), tokenizer=tokenizer)
    hubs = load_text(name, root=str(tmp_path / "hub"), source="hub", tokenizer=tokenizer)
    assert hubs.fingerprint == files.fingerprint


def test_squad_of_the_hub(write_squad: Callable[..., Path], tmp_path: Path) -> None:
    train, dev = squad.read(write_squad())
    parts = {
        name: {
            "id": [q.id for q in questions],
            "question": [q.question for q in questions],
            "context": [q.context for q in questions],
            "answers": [
                {"text": list(q.answers), "answer_start": [q.answer_start] * len(q.answers)}
                for q in questions
            ],
        }
        for name, questions in (("train", train), ("validation", dev))
    }
    found = hub.read_squad(saved(tmp_path / "saved", parts))
    assert [[vars(q) for q in part] for part in found] == [
        [vars(q) for q in part] for part in (train, dev)
    ]


def test_a_label_or_a_column_that_is_wrong_is_named(write_glue: WriteGlue, tmp_path: Path) -> None:
    parts = as_on_the_hub("rte", write_glue("rte"))
    parts["validation"]["label"][2] = -1
    saved(tmp_path / "one" / "rte", parts)
    with pytest.raises(DataError, match="split 'validation', row 2: label -1"):
        hub.read_glue("rte", tmp_path / "one")
    del parts["train"]["sentence2"]
    saved(tmp_path / "two" / "rte", {"validation": parts["train"], "train": parts["train"]})
    with pytest.raises(DataError, match="has no column sentence2"):
        hub.read_glue("rte", tmp_path / "two")


def test_what_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nyu-mll/glue rte: not found in .*nothing"):
        hub.read_glue("rte", tmp_path / "nothing")
