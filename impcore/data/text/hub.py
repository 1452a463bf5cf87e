"""GLUE, SQuAD and WikiText through Hugging Face datasets: the hub, its cache, or a local copy.

Invariant: what comes out is what the official files give, but for the order of examples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from impcore.data.text import glue, squad
from impcore.data.text.examples import Examples, Passage
from impcore.errors import DataError, MissingExtraError


def read_glue(name: str, root: str | Path | None) -> tuple[Examples, dict[str, Examples]]:
    """As `glue.read`, of the hub's nyu-mll/glue. Raises DataError or MissingExtraError."""
    task = glue.TASKS[name]
    parts = _parts("nyu-mll/glue", name, root)
    dev = {
        suffix: _examples(task, parts, file.replace("dev", "validation"))
        for suffix, file in task.dev
    }
    return _examples(task, parts, "train"), dev


def read_squad(root: str | Path | None) -> tuple[list[Passage], list[Passage]]:
    """As `squad.read`, of the hub's rajpurkar/squad. Raises DataError or MissingExtraError."""
    parts = _parts("rajpurkar/squad", None, root)
    train, dev = ([_passage(row) for row in _part(parts, name)] for name in ("train", "validation"))
    return squad.with_answers(train, "rajpurkar/squad"), dev


def read_wikitext(root: str | Path | None) -> tuple[list[str], list[str]]:
    """The lines of WikiText-103 (raw) for training and validation."""
    parts = _parts("Salesforce/wikitext", "wikitext-103-raw-v1", root)
    train, dev = (list(_part(parts, name)["text"]) for name in ("train", "validation"))
    return train, dev


def _parts(repository: str, config: str | None, root: str | Path | None) -> Any:
    """The splits of `root`, a copy of the repository or of save_to_disk's, else of the hub."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            'data.source: "hub" needs Hugging Face datasets, which is not installed: '
            "pip install 'impcore[hf]'"
        ) from error
    saved = None if root is None else Path(root).expanduser() / (config or "")
    try:
        if saved is not None and (saved / "dataset_dict.json").is_file():
            return datasets.load_from_disk(os.fspath(saved))
        source = repository if root is None else os.fspath(Path(root).expanduser())
        return datasets.load_dataset(source, config)
    except Exception as error:  # the library raises dozens of types for a file it cannot read
        where = "the hub or its cache" if root is None else f"{root}"
        raise DataError(
            f"{repository} {config or ''}: not found in {where} ({type(error).__name__}: "
            f"{str(error)[:300]}); should be reachable, or data.root a copy of it"
        ) from error


def _part(parts: Any, name: str) -> Any:
    if name not in parts:
        raise DataError(f"hub: no split {name!r}; there are {', '.join(parts)}")
    return parts[name]


def _examples(task: glue.Glue, parts: Any, name: str) -> Examples:
    part = _part(parts, name)
    texts = task.hub_texts or task.texts
    missing = [column for column in (*texts, "label") if column not in part.column_names]
    if missing:
        raise DataError(f"hub, split {name!r}: has no column {', '.join(missing)}")
    targets: Sequence[Any] = list(part["label"])
    if task.labels:
        wrong = [n for n, label in enumerate(targets) if label not in range(len(task.labels))]
        if wrong:
            raise DataError(f"hub, split {name!r}, row {wrong[0]}: label {targets[wrong[0]]!r}")
    columns = [list(part[column]) for column in texts]
    return Examples(columns[0], columns[1] if len(columns) > 1 else None, targets)


def _passage(row: Any) -> Passage:
    texts = tuple(row["answers"]["text"])
    if not texts:
        raise DataError(f"hub, question {row['id']!r}: has no answer")
    start = int(row["answers"]["answer_start"][0])
    return Passage(row["id"], row["question"].strip(), row["context"], texts, start)
