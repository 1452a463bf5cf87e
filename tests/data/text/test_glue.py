from __future__ import annotations

import pytest

from impcore.data.text import glue
from impcore.errors import DataError

from .conftest import WriteGlue


@pytest.mark.parametrize("name", glue.TASKS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_task_reads_its_official_files(name: str, end: str, write_glue: WriteGlue) -> None:
    task = glue.TASKS[name]
    train, dev = glue.read(task, write_glue(name, end=end))
    assert len(train) == 6
    assert list(dev) == [suffix for suffix, _ in task.dev]
    assert train.first[1].startswith('the "cat" sat')
    assert (train.second is not None) == (len(task.texts) == 2)
    if task.labels:
        assert train.targets == [n % len(task.labels) for n in range(6)]
    else:
        assert train.targets == [n + 0.25 for n in range(6)]
    assert dev[""].fingerprint != train.fingerprint


def test_matched_and_mismatched_are_two_files(write_glue: WriteGlue) -> None:
    _, dev = glue.read(glue.TASKS["mnli"], write_glue("mnli"))
    assert dev[""].first != dev["_mismatched"].first


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "rte",
            "1\tthe cat\ta dog\tmaybe",
            "line 8: the label is 'maybe'; should be one of",
        ),
        ("rte", "1\tthe cat\ta dog", "line 8: has 3 columns, 4 are needed"),
        ("stsb", "1\tx\tx\ta\tb\tnan", "line 8: the score is 'nan'; should be a number"),
        ("stsb", "1\tx\tx\ta\tb\tfour", "line 8: the score is 'four'"),
        ("sst2", "\n", "line 8: is empty"),
    ],
)
def test_a_bad_row_is_named(write_glue: WriteGlue, name: str, line: str, message: str) -> None:
    root = write_glue(name)
    path = root / glue.TASKS[name].folder / "train.tsv"
    with path.open("a") as file:
        file.write(line + "\n" + ("a\t0\n" if name == "sst2" else ""))
    with pytest.raises(DataError, match=rf"train\.tsv, {message}"):
        glue.read(glue.TASKS[name], root)


def test_a_missing_file_says_how_to_get_it(write_glue: WriteGlue) -> None:
    root = write_glue("mnli")
    (root / "MNLI" / "dev_mismatched.tsv").unlink()
    with pytest.raises(DataError, match=r"mnli: dev_mismatched\.tsv missing from .*get them"):
        glue.read(glue.TASKS["mnli"], root)


def test_a_header_alone_is_no_data(write_glue: WriteGlue) -> None:
    root = write_glue("qnli")
    (root / "QNLI" / "dev.tsv").write_text("index\tquestion\tsentence\tlabel\n")
    with pytest.raises(DataError, match=r"dev\.tsv: has no examples"):
        glue.read(glue.TASKS["qnli"], root)
