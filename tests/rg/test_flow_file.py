"""flow.npz: read whole, or refused with the fault."""

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

from .conftest import geometric_counts, rewrite


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P": None}, "lacks P"),
        ({"total": np.array(5)}, "total must be one number, at least 270896, not 5"),
        ({"total": np.array([300_000])}, "total must be one number"),
        ({"total": np.array(3e5)}, "total must be int64, not float64"),
        ({"observable_M": np.ones((3, 4))}, "observable_M must have a name of its own"),
        ({"observable_": np.ones((3, 4))}, "observable_ must have a name of its own"),
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
        (
            {"remaining": geometric_counts(3) * [1, -1, 1]},
            "remaining of state 1 must be 0 or more, not -216717",
        ),
    ],
)
def test_a_flow_that_means_nothing_is_refused(make_run, changes, message):
    path = make_run(3)
    rewrite(path, **changes)
    with pytest.raises(RunDirectoryError, match=message):
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


@pytest.mark.parametrize("name", ["M", "P", "names", "remaining", "theta"])
def test_a_damaged_name_is_no_missing_key(make_run, name):
    """In the list at the archive's end; M may be missing, but not so."""
    path = make_run(4) / "flow.npz"
    content = bytearray(path.read_bytes())
    at = content.rindex(f"{name}.npy".encode())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunDirectoryError, match="not a readable flow file"):
        rg.load(path.parent)
