"""The report of an experiment over tasks: what is set side by side, and the numbers in it."""

from __future__ import annotations

import json
import shutil

import numpy as np

from impcore.rg import report
from impcore.rg.__main__ import main
from impcore.rg.report.subject import Options

from ..conftest import rewrite
from ..tasks_harness import NAMES, SLOPES, STATES, experiment, made
from .test_joint import make, rows_of
from .test_report import HOSTILE, assert_self_contained, read


def test_the_directory_gets_one_report_of_all_its_runs(tmp_path, capsys):
    path = experiment(tmp_path / "x")
    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"{path / 'report.html'}\n"
    reader = read(path / "report.html")
    assert_self_contained(reader)
    parts = ("some tasks", "A stand-in.", "Pre-trained once on big", "fc.weight",
             "σ of M from random weights", "σ of M from pretrained weights", "Beside the paper",
             "Table 2 of Redman")  # fmt: skip
    for part in parts:
        assert part in reader.text
    labels = [a["aria-label"] for tag, a in reader.tags if tag == "svg"]
    assert "σ of M of every block, by task and initialisation" in labels
    assert "Test accuracy against density, b" in labels
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    sigma = rows_of(path / "sigma.csv")
    assert {row["run"] for row in sigma} == {"-".join(key) for key in SLOPES}
    assert len(rows_of(path / "rounds.csv")) == 4 * STATES


def test_the_same_runs_give_the_same_bytes_and_files_on_demand(tmp_path):
    path = experiment(tmp_path / "x")
    shutil.rmtree(path / "random-b")
    report.write(path)
    first = (path / "report.html").read_bytes()
    report.write(path, out=tmp_path / "out", files=True)
    assert (tmp_path / "out" / "report.html").read_bytes() == first
    shown = rows_of(tmp_path / "out" / "figures" / "sigma-side-by-side.csv")
    assert len(shown) == 3 * 3
    assert {row["init"] for row in shown} == {"random", "pretrained"}


def test_an_unfinished_experiment_is_reported_as_far_as_it_is(tmp_path):
    path = experiment(tmp_path / "x")
    shutil.rmtree(path / "pretrained-b")
    report.write(path)
    assert "Not measured yet: pretrained-b." in read(path / "report.html").text
    for name in ("pretrain", "random-a", "random-b", "pretrained-a"):
        shutil.rmtree(path / name)
    report.write(path)
    assert "Not measured yet: pretrain, random-a" in read(path / "report.html").text


def test_names_are_text_and_nothing_else(tmp_path):
    path = experiment(tmp_path / "x", name=HOSTILE, about=HOSTILE)
    report.write(path)
    assert_self_contained(read(path / "report.html"))


def test_another_metric_than_accuracy_is_shown_by_its_name(tmp_path):
    path = experiment(tmp_path / "x")
    for key in SLOPES:
        file = path / "-".join(key) / "rounds.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows if key[1] == "b" else []:
            row |= {"accuracy": None, "metrics": {"matthews": 0.01 * row["round"] - 0.02}}
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    of = made(path)
    assert [of.metric(task) for task in ("a", "b")] == ["accuracy", "matthews"]
    report.write(path)
    reader = read(path / "report.html")
    assert "−0.0200" in reader.text
    labels = {a["aria-label"] for tag, a in reader.tags if tag == "svg"}
    assert {"Test matthews against density, b", "Test accuracy against density, a"} <= labels


def test_tables_side_by_side_hold_every_task_of_their_initialisation(tmp_path):
    of = made(experiment(tmp_path / "x"))
    for init in of.tasks.inits:
        (one,) = of.comparisons(init, Options())
        assert [label for label, _ in one.runs] == ["a", "b"]
        for task, found in one.runs:
            np.testing.assert_allclose(found.sigma_mean, of.subjects[init, task].eigen.sigma_mean)
            np.testing.assert_allclose(found.sigma_mean, SLOPES[init, task], atol=0.2)


def test_an_experiment_beside_other_runs_stands_for_its_own(tmp_path):
    path = experiment(tmp_path / "x")
    other = make(tmp_path / "other", [0.3, 0.1, -0.2], names=NAMES, states=STATES)
    report.write_joint([(None, path), (None, other)], tmp_path / "out")
    assert len({row["run"] for row in rows_of(tmp_path / "out" / "sigma.csv")}) == 5


def test_sigma_of_different_observables_stand_apart(tmp_path):
    path = experiment(tmp_path / "x")
    rewrite(path / "random-b", M=None)
    report.write(path, out=tmp_path / "out", files=True)
    text = read(tmp_path / "out" / "report.html").text
    assert "σ of M from random weights" in text
    assert "σ of P from random weights" in text
    figures = tmp_path / "out" / "figures"
    assert {row["task"] for row in rows_of(figures / "sigma-side-by-side-1.csv")} == {"b"}
    assert len(rows_of(figures / "sigma-side-by-side.csv")) == 3 * 3
