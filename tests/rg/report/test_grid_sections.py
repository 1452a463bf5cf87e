from __future__ import annotations

import shutil

from impcore import rg
from impcore.rg.report import grid_sections

from ..tasks_harness import NAMES, STATES, experiment, made
from .test_joint import make


def test_accuracies_are_compared_density_by_density(tmp_path):
    of = made(experiment(tmp_path / "x"))
    known = {key: one.run.accuracy for key, one in of.subjects.items()}
    rows = list(grid_sections._against(of))
    assert [row[:2] for row in rows] == [("a", "pretrained"), ("b", "pretrained")]
    for row in rows:
        gain = 100 * (known["pretrained", row[0]] - known["random", row[0]])
        assert row[2] == rg.formats.signed(gain[0], 2)
        assert row[4].startswith(rg.formats.signed(gain.mean(), 3)[:5])
        assert row[5] == f"{(gain > 0).sum()} of {STATES} densities"


def test_runs_are_compared_as_far_as_both_have_come(tmp_path):
    path = experiment(tmp_path / "x")
    shutil.rmtree(path / "pretrained-a")
    make(path / "pretrained-a", [0.2, 0.1, -0.1], names=NAMES, states=3)
    assert [row[5].partition(" of ")[2] for row in grid_sections._against(made(path))] == [
        "3 densities", f"{STATES} densities",
    ]  # fmt: skip
