"""The nine tasks of GLUE (Wang et al. 2019), from their official TSV files or the hub's copies.

Invariant: one row of `TASKS` says all that is special about a task. The labels of GLUE's test
files are secret, so what is tested on is the development set, as in all published tickets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from impcore.data import places
from impcore.data.text.examples import Examples
from impcore.data.text.lines import read_table
from impcore.errors import DataError

_HOW = (
    "to get them, unpack the task's zip of https://gluebenchmark.com/tasks there, or set "
    'data.source = "hub"'
)


@dataclass(frozen=True)
class Glue:
    """A task: where its texts and labels are, and how it is judged.

    Attributes:
        folder: the official directory's name.
        texts: the columns of the sentence or the pair.
        label: the column of the label.
        labels: the classes in the order of their numbers, which is the hub's; () for a number.
        metrics: names in METRICS, the most telling first.
        dev: suffix of the metrics' names -> the development file.
        header: the columns of files that do not name them.
        hub_texts: the hub's names of the texts, where they are others.
        may_be_cut: rows that lack columns in the official file.
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    dev: tuple[tuple[str, str], ...] = (("", "dev"),)
    header: tuple[str, ...] | None = None
    hub_texts: tuple[str, ...] | None = None
    may_be_cut: int = 0


_PAIR = ("sentence1", "sentence2")
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
TASKS: Mapping[str, Glue] = {
    "mnli": Glue(
        "MNLI",
        _PAIR,
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        dev=(("", "dev_matched"), ("_mismatched", "dev_mismatched")),
        hub_texts=("premise", "hypothesis"),
    ),
    "sst2": Glue("SST-2", ("sentence",), "label", _BINARY),
    "stsb": Glue("STS-B", _PAIR, "score", (), ("pearson", "spearman")),
    # A few rows of the official file are cut short; the hub's copy leaves them out too.
    "qqp": Glue(
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        _BINARY,
        ("accuracy", "f1"),
        may_be_cut=10,
    ),
    "wnli": Glue("WNLI", _PAIR, "label", _BINARY),
    "qnli": Glue("QNLI", ("question", "sentence"), "label", _ENTAILMENT),
    "mrpc": Glue(
        "MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("accuracy", "f1"), hub_texts=_PAIR
    ),
    "rte": Glue("RTE", _PAIR, "label", _ENTAILMENT),
    "cola": Glue(
        "CoLA",
        ("sentence",),
        "label",
        _BINARY,
        ("matthews", "accuracy"),
        header=("source", "label", "mark", "sentence"),
    ),
}
"""Name -> task."""


def read(task: Glue, root: str | Path | None) -> tuple[Examples, dict[str, Examples]]:
    """The training examples, and those of each development file by its suffix.

    Raises:
        DataError: a file is missing or malformed; names the file and the line.
    """
    name = next(name for name, known in TASKS.items() if known is task)
    files = ["train.tsv", *(f"{stem}.tsv" for _, stem in task.dev)]
    path = places.find(name, root, task.folder, files, _HOW)
    dev = {suffix: _examples(task, path / f"{stem}.tsv") for suffix, stem in task.dev}
    return _examples(task, path / "train.tsv"), dev


def _examples(task: Glue, path: Path) -> Examples:
    columns: list[list[str]] = [[] for _ in task.texts]
    targets: list[float] = []
    wanted = (*task.texts, task.label)
    for number, cells in read_table(path, wanted, task.header, task.may_be_cut):
        for column, text in zip(columns, cells[:-1], strict=True):
            column.append(text)
        targets.append(_target(task, cells[-1], f"{path}, line {number}"))
    if not targets:
        raise DataError(f"{path}: has no examples")
    return Examples(columns[0], columns[1] if len(columns) > 1 else None, targets)


def _target(task: Glue, text: str, where: str) -> float:
    """The class, an int, or the number."""
    if task.labels:
        if text not in task.labels:
            valid = ", ".join(task.labels)
            raise DataError(f"{where}: the label is {text!r}; should be one of {valid}")
        return task.labels.index(text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: the {task.label} is {text!r}; should be a number")
    return value
