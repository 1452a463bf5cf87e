"""The measures that stand beside the paper's claims."""

from __future__ import annotations

import numpy as np

from impcore import rg
from impcore.rg import report
from impcore.rg.report import claims

from ..conftest import rewrite
from ..tasks_harness import STATES, experiment, made
from .test_report import read


def test_the_measures_of_the_claims(tmp_path):
    of = made(experiment(tmp_path / "x"))
    random, pretrained = (of.vectors(init) for init in of.tasks.inits)
    assert claims._one_sign(random) == "2 of 3"  # the second block differs in sign
    assert claims._one_sign(pretrained) == "3 of 3"
    assert claims._as_before(random, pretrained) == "5 of 6"
    value = rg.distance(random["a"], random["b"]).value
    assert claims._apart(random).startswith(rg.formats.rounded(value))
    speeds = [np.sqrt(np.mean(one.sigma_mean**2)) for one in random.values()]
    assert claims._speed(random) == rg.formats.rounded(np.mean(speeds))


def test_a_block_that_collapsed_in_one_task_leaves_the_comparison_and_is_named(tmp_path):
    path = experiment(tmp_path / "x")
    with np.load(path / "random-b" / "flow.npz") as archive:
        M = archive["M"] * np.where(np.arange(STATES)[:, None] * [0, 0, 1] > 2, 0, 1)
    M /= M.sum(axis=1, keepdims=True)
    rewrite(path / "random-b", M=M)
    of = made(path)
    found = of.vectors("random")
    assert {task: one.names for task, one in found.items()} == {
        "a": ("stage1", "stage2"), "b": ("stage1", "stage2"),
    }  # fmt: skip
    assert claims._one_sign(found).endswith(" of 2")
    assert claims._as_before(found, of.vectors("pretrained")).endswith(" of 4")
    assert of.left_out("random") == "From random weights without blocks stage3 (no σ in b)."
    assert of.left_out("pretrained") == ""
    assert of.left_out("random") in read(report.write(path)).text


def test_a_task_without_sigma_is_named_and_no_block_in_common_is_no_error(tmp_path):
    path = experiment(tmp_path / "x")
    rewrite(path / "pretrained-b", M=None)
    ones = np.ones((STATES, 3)) / 2
    for task, gone in (("a", [0, 1, 1]), ("b", [1, 0, 0])):
        M = np.where(np.arange(STATES)[:, None] == 1, gone, ones)
        rewrite(path / f"random-{task}", M=M / M.sum(axis=1, keepdims=True))
    of = made(path)
    assert list(of.vectors("pretrained")) == ["a"]
    assert of.vectors("random") == {}
    text = read(report.write(path)).text
    assert "From pretrained weights without tasks b (no σ of M)." in text
    gone = "stage2 (no σ in b), stage3 (no σ in b), stage1 (no σ in a)"
    assert f"From random weights without blocks {gone}." in text
