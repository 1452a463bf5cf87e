"""Which runs are seeds of one experiment, and what is said where there is nothing to fit."""

from __future__ import annotations

import numpy as np
import pytest

from impcore import rg
from impcore.rg.report.subject import Options, groups, subject, subjects


@pytest.fixture
def variant(make_run):
    draws = np.random.default_rng(4)

    def make(name, table="", seed=None, **changes):
        flow = draws.dirichlet([50] * 4, 9)
        path = make_run(9, run_name=name, **({"M": flow, "P": flow} | changes))
        table = f"seed = {seed}\n{table}" if seed is not None else table
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
        (("digits", "digits"), "digits"),
    ],
)
def test_runs_that_differ_in_their_run_table_alone_are_one_experiment(variant, names, label):
    made = subjects([(None, variant(name, "[model]\narch = 5\n")) for name in names], Options())
    assert [one.group for one in made] == [label, label]
    (group,) = groups(made)
    assert len(group.seeds.sigma) == 2
    assert len(group.fits.fits) == 2


def test_a_run_that_repeats_a_seed_or_a_flow_is_no_further_seed(variant):
    model, flow = "[model]\narch = 5\n", np.random.default_rng(5).dirichlet([50] * 4, 9)
    unfitted = {"extra": {"accuracy": None}}
    same = [variant(name, model, seed=1, **unfitted) for name in ("s1", "s1b")]
    others = [variant("s2", model, seed=n, M=flow, P=flow, **unfitted) for n in (2, 3)]
    (group,) = groups(subjects([(None, run) for run in (*same, *others)], Options()))
    assert group.repeats == {"s1b": "s1", "s2 (2)": "s2"}
    assert len(group.seeds.sigma) == 2
    (group,) = groups(subjects([("x", run) for run in (*same, *others)], Options()))
    assert group.repeats == {"s2 (2)": "s2"}  # a label says that s1 and s1b are different seeds
    assert len(group.seeds.sigma) == 3
    (group,) = groups(subjects([("x", run) for run in others], Options()))
    assert group.seeds is None
    empty = np.empty((0, 4))
    none = [
        variant(name, model, M=empty, P=empty, counts=np.empty(0, dtype=np.int64), seed=n)
        for n, name in enumerate("ab")
    ]
    (group,) = groups(subjects([(None, run) for run in none], Options()))
    assert not group.repeats  # there is no flow yet to repeat


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
