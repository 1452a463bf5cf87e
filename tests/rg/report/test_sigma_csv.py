"""sigma.csv stands alone: all that a reader needs, exactly."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict

import numpy as np
import pytest

from impcore import rg
from impcore.rg.report import sigma_csv


def table(path):
    run = rg.load(path)
    analyses = rg.analyse(run)
    text = sigma_csv.render(run, analyses).decode("utf-8")
    return run, analyses, list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_block_of_every_step_and_observable_has_one_row(make_run):
    _, _, rows = table(make_run(9))
    keys = {(row["observable"], row["block"], int(row["round"])) for row in rows}
    assert len(rows) == len(keys) == 2 * 4 * 8
    assert {block for _, block, _ in keys} == {"stage1", "stage2", "stage3", "rest"}
    assert tuple(rows[0]) == sigma_csv.COLUMNS


def test_shares_close_to_one_from_the_file_alone(make_run):
    _, _, rows = table(make_run(9))
    sums = defaultdict(float)
    for row in rows:
        sums[row["observable"], row["round"]] += float(row["value"]) * float(row["lambda"])
    assert len(sums) == 16
    for total in sums.values():
        assert total == pytest.approx(1, abs=1e-14)


def test_numbers_come_back_to_the_bit(make_run):
    run, analyses, rows = table(make_run(9, names=('a,"b"\nc', "rest")))
    for row in rows:
        n, column = int(row["round"]), run.names.index(row["block"])
        analysis = analyses[row["observable"]]
        result = analysis.eigen
        assert float(row["value"]) == analysis.values[n, column]
        assert float(row["lambda"]) == result.lam[n, column]
        assert float(row["sigma"]) == result.sigma[n, column]
        assert float(row["c"]) == result.c[n]
        assert float(row["c"]) == int(row["remaining_before"]) / int(row["remaining_after"])
        assert float(row["density_after"]) == run.density[n + 1]
        assert float(row["sigma_mean"]) == result.sigma_mean[column]
        assert float(row["sigma_sem"]) == result.sigma_sem[column]
        assert float(row["sigma_low"]) == result.sigma_low[column]
        assert float(row["sigma_high"]) == result.sigma_high[column]
        assert float(row["sigma_endpoint"]) == result.sigma_endpoint[column]
        assert float(row["lambda_mean"]) == result.lam_mean[column]
        assert float(row["lambda_sem"]) == result.lam_sem[column]
        assert row["relevance"] == result.relevance[column]


def test_a_collapsed_block_is_there_and_says_so(make_run):
    M = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    _, _, rows = table(make_run(3, names=("a", "b"), M=M, P=M))
    gone = [row for row in rows if row["block"] == "b" and row["observable"] == "M"]
    assert [row["lambda"] for row in gone] == ["0.0", "nan"]
    assert [row["sigma"] for row in gone] == ["-inf", "nan"]
    assert {row["relevance"] for row in gone} == {"collapsed"}
    assert all(math.isnan(float(row["sigma_mean"])) for row in gone)


def test_a_run_without_steps_gives_the_header_alone(make_run):
    run = rg.load(make_run(1))
    text = sigma_csv.render(run, rg.analyse(run)).decode("utf-8")
    assert text == ",".join(sigma_csv.COLUMNS) + "\n"


def test_steps_before_every_block_collapses_are_there(make_run):
    M = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    _, _, rows = table(make_run(3, names=("a", "b"), M=M, P=M))
    assert [row["lambda"] for row in rows[:4]] == ["2.0", "0.0", "0.0", "nan"]
    assert {row["relevance"] for row in rows} == {"collapsed"}
