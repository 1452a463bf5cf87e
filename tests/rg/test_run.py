"""Run directories: read whole, or refused with the file and the fault."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impcore import rg
from impcore.errors import RunDirectoryError
from impcore.rg.report import sections

from .conftest import TOTAL, geometric_counts, write_rounds


def rewrite(path, **changes):
    with np.load(path / "flow.npz") as archive:
        arrays = {key: archive[key] for key in archive}
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(path / "flow.npz", **arrays)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P": None}, "lacks P"),
        ({"total": np.array(5)}, "total must be one number, at least 270896, not 5"),
        ({"total": np.array([300_000])}, "total must be one number"),
        ({"total": np.array(3e5)}, "total must be int64, not float64"),
        ({"observable_x": np.ones((3, 4), int)}, "observable_x must be float64"),
        ({"observable_x": np.ones((3, 3))}, "observable_x must have shape"),
        ({"observable_x": -np.ones((3, 4))}, "observable_x of state 0 is negative"),
        ({"theta": None, "names": None}, "lacks names, theta"),
        ({"M": np.ones((3, 4), np.float32) / 4}, "M must be float64, not float32"),
        ({"remaining": geometric_counts(3).astype(np.int32)}, "remaining must be int64"),
        (
            {"P": np.ones((3, 5)) / 5},
            r"P must have shape \[3, 4\] \[states, columns\], not \[3, 5\]",
        ),
        ({"M": np.ones((3, 4)) / 5}, "M of state 0 sums to 0.8, not 1"),
        ({"M": np.full((3, 4), np.nan)}, "M of state 0 is negative or not finite"),
        ({"M": np.tile([1.5, -0.5, 0, 0], (3, 1))}, "M of state 0 is negative"),
        ({"names": np.array(["a", "a", "b", "rest"])}, "names must differ"),
        ({"names": np.array(["", "a", "b", "rest"])}, "names must differ and not be empty"),
        ({"names": np.arange(4)}, "names must be a list of one or more strings"),
        ({"names": np.array([], dtype=str)}, "names must be a list of one or more strings"),
        ({"theta": np.array("final")}, "theta must be one of .* not 'final'"),
        ({"theta": np.array(["trained"])}, "theta must be one of"),
        ({"remaining": geometric_counts(4)[1:]}, r"rounds\.jsonl:1: remaining is 270896"),
        ({"remaining": geometric_counts(3)[None]}, "remaining must have one axis"),
    ],
)
def test_a_flow_that_means_nothing_is_refused(make_run, changes, message):
    path = make_run(3)
    rewrite(path, **changes)
    with pytest.raises(RunDirectoryError, match=message):
        rg.load(path)


def test_flow_and_rounds_must_have_the_same_states(make_run):
    path = make_run(3)
    write_rounds(path, geometric_counts(2))
    with pytest.raises(RunDirectoryError, match=r"has 3 states where .* has 2"):
        rg.load(path)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (self.target,))


def test_nothing_is_unpickled(make_run, tmp_path):
    path, trace = make_run(3), tmp_path / "trace"
    bomb = Bomb(str(trace))
    control = tmp_path / "control"
    pickle.loads(pickle.dumps(Bomb(str(control))))
    assert control.is_dir()  # the bomb works where pickles are loaded
    rewrite(path, names=np.array([bomb] * 4, dtype=object))
    with pytest.raises(RunDirectoryError, match=r"flow\.npz: not a readable flow file"):
        rg.load(path)
    (path / "flow.npz").write_bytes(pickle.dumps(bomb))
    with pytest.raises(RunDirectoryError, match="not a zip archive"):
        rg.load(path)
    assert not trace.exists()


def test_a_bare_array_is_not_a_flow_file(make_run):
    path = make_run(3)
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    (path / "flow.npz").write_bytes(buffer.getvalue())
    with pytest.raises(RunDirectoryError, match="not a zip archive"):
        rg.load(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_flow_file_is_refused_or_harmless(make_run, data):
    path = make_run(4)
    whole = rg.load(path)
    content = bytearray((path / "flow.npz").read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (path / "flow.npz").write_bytes(content)
    try:
        damaged = rg.load(path)
    except RunDirectoryError:
        damaged = None
    if damaged is not None:  # the damage lies where zip keeps nothing that is read
        np.testing.assert_array_equal(damaged.M, whole.M)
        np.testing.assert_array_equal(damaged.P, whole.P)
        assert damaged.names == whole.names
        np.testing.assert_array_equal(damaged.remaining, whole.remaining)
