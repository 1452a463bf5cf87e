"""Run directories: read whole, or refused with the file and the fault."""

from __future__ import annotations

import numpy as np
import pytest

from impcore import rg
from impcore.errors import RunDirectoryError
from impcore.rg.report import sections

from .conftest import TOTAL, geometric_counts, rewrite, write_rounds


def test_reads_what_was_written(make_run):
    path = make_run(9)
    run = rg.load(path)
    with np.load(path / "flow.npz") as archive:
        np.testing.assert_array_equal(run.M, archive["M"])
        np.testing.assert_array_equal(run.P, archive["P"])
    assert run.name == "digits"
    assert run.names == ("stage1", "stage2", "stage3", "rest")
    assert run.theta == "trained"
    assert len(run.rows) == 9
    np.testing.assert_array_equal(run.remaining, geometric_counts(9))
    np.testing.assert_array_equal(run.density, geometric_counts(9) / TOTAL)


def test_the_directory_names_a_run_without_a_name(make_run):
    path = make_run(2)
    (path / "config.toml").write_text("", encoding="utf-8")
    assert rg.load(path).name == "run"


@pytest.mark.parametrize(
    ("prune", "method"),
    [
        ("", "magnitude pruning"),
        ('score = "magnitude"\nscope = "global"', "magnitude pruning"),
        ('score = "snip"', "pruning by snip"),
        ('score = "grasp"\nscope = "layerwise"', "pruning by grasp (scope layerwise)"),
        ('scope = "random"', "magnitude pruning (scope random)"),
    ],
)
def test_the_config_says_what_pruned(make_run, prune, method):
    path = make_run(3)
    (path / "config.toml").write_text(f"[prune]\n{prune}\n", encoding="utf-8")
    run = rg.load(path)
    assert run.method == method
    assert f"terative {method} and its flow." in sections.heading(run)


def test_a_missing_flow_is_named(make_run):
    path = make_run(3)
    (path / "flow.npz").unlink()
    with pytest.raises(RunDirectoryError, match=r"flow\.npz: missing"):
        rg.load(path)


def test_config_and_rounds_are_optional(make_run):
    path = make_run(3)
    (path / "config.toml").unlink()
    (path / "import.toml").write_text('[run]\nname = "theirs"\n', encoding="utf-8")
    (path / "rounds.jsonl").unlink()
    run = rg.load(path)
    assert run.name == "theirs"
    assert run.rows == ()
    assert np.isnan(run.accuracy).all()
    assert run.total == TOTAL  # what remains at state 0
    rewrite(path, total=np.array(2 * TOTAL))
    (path / "import.toml").unlink()
    run = rg.load(path)
    assert run.name == "run"
    np.testing.assert_array_equal(run.density, geometric_counts(3) / (2 * TOTAL))


def test_masks_alone_give_p_and_no_m(make_run):
    path = make_run(3)
    rewrite(path, M=None)
    run = rg.load(path)
    assert list(run.observables) == ["P"]
    with pytest.raises(RunDirectoryError, match="has no M: it was made from masks alone"):
        _ = run.M


def test_user_defined_observables_are_read_and_need_not_be_shares(make_run):
    path = make_run(3)
    squares = np.arange(1.0, 13).reshape(3, 4)
    rewrite(path, observable_L2=squares, something_else=np.arange(5))
    run = rg.load(path)
    assert list(run.observables) == ["M", "P", "L2"]
    np.testing.assert_array_equal(run.observables["L2"], squares)


def test_a_path_that_is_no_directory_is_refused(make_run):
    path = make_run(3)
    for bad in (path / "nowhere", path / "flow.npz"):
        with pytest.raises(RunDirectoryError, match="not a directory"):
            rg.load(bad)


@pytest.mark.parametrize("text", [b"a = ", b"a = 1\na = 2", b"\xff", b"a = " + b"[" * 20_000])
def test_a_broken_config_is_named(make_run, text):
    path = make_run(3)
    (path / "config.toml").write_bytes(text)
    with pytest.raises(RunDirectoryError, match=r"config\.toml: not a TOML file"):
        rg.load(path)


def test_flow_and_rounds_must_have_the_same_states_and_total(make_run):
    path = make_run(3)
    rewrite(path, total=np.array(TOTAL))
    assert rg.load(path).total == TOTAL
    rewrite(path, total=np.array(TOTAL + 1))
    with pytest.raises(RunDirectoryError, match=rf"total is {TOTAL + 1}, but {TOTAL} in"):
        rg.load(path)
    rewrite(path, total=None)
    write_rounds(path, geometric_counts(2))
    with pytest.raises(RunDirectoryError, match=r"has 3 states where .* has 2"):
        rg.load(path)
