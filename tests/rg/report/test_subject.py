"""Which runs are seeds of one experiment, and what is said where there is nothing to fit."""

from __future__ import annotations

import numpy as np
import pytest

from impcore import rg
from impcore.rg.report.subject import Options, groups, subject, subjects


@pytest.fixture
def variant(make_run):
    def make(name, table="", **changes):
        path = make_run(9, run_name=name, **changes)
        (path / "config.toml").write_text(f'[run]\nname = "{name}"\n{table}')
        return rg.load(path)

    return make


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("ten-seed0", "ten-seed1"), "ten"),
        (("a/replicate_1", "a/replicate_2"), "a"),
        (("x", "y"), "x"),
        (("run (1)", "run (2)"), "run (1)"),
    ],
)
def test_runs_that_differ_in_their_run_table_alone_are_one_experiment(variant, names, label):
    made = subjects([(None, variant(name, "[model]\narch = 5\n")) for name in names], Options())
    assert [one.group for one in made] == [label, label]
    (group,) = groups(made)
    assert len(group.seeds.sigma) == 2
    assert len(group.fits.fits) == 2


def test_other_settings_labels_and_bare_directories_are_other_experiments(variant):
    one = variant("a", "[model]\narch = 5\n")
    other = variant("b", "[model]\narch = 6\n")
    bare = [variant("c"), variant("d")]
    made = subjects([(None, run) for run in (one, other, *bare)], Options())
    assert [one.group for one in made] == ["a", "b", "c", "d"]
    assert all(group.seeds is None for group in groups(made))
    made = subjects([("same", one), ("same", other)], Options())
    assert [one.group for one in made] == ["same", "same"]


@pytest.mark.parametrize(
    ("accuracy", "reason"),
    [
        (1.0, "The error is 0 at some density"),
        (0.5, "The error is the same at every density"),
        (None, "The run has no accuracies"),
    ],
)
def test_where_there_is_nothing_to_fit_it_says_so(make_run, accuracy, reason):
    run = rg.load(make_run(9, extra={"accuracy": accuracy}))
    made = subject(run, Options())
    assert made.fit is None
    assert reason in made.no_fit


def test_a_short_run_is_not_fitted(make_run):
    made = subject(rg.load(make_run(5)), Options())
    assert made.no_fit == "A fit of eq. 15 needs 6 states, the run has 5."
    assert np.isfinite(subject(rg.load(make_run(6)), Options()).fit.gamma)
