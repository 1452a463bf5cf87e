import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impcore.data.pickled import read_batch
from impcore.errors import DataError

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data_batch_1"


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_the_official_format_is_read(path, python2, module, fortran):
    content = {b"labels": [1, 2], b"batch_label": b"x" * 300, b"data": PIXELS}
    path.write_bytes(python2(module, fortran=fortran).dumps(content))
    found = read_batch(path)
    assert found[b"labels"] == [1, 2]
    assert found[b"batch_label"] == b"x" * 300
    assert found[b"data"].dtype == np.uint8
    assert np.array_equal(found[b"data"], PIXELS)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_files_pickled_again_by_python_3_are_read(path, protocol, order):
    content = {"labels": [1, 2], b"data": np.asarray(PIXELS, order=order)}
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_batch(path)
    assert found[b"labels"] == [1, 2]
    assert np.array_equal(found[b"data"], PIXELS)


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "args", "refused"),
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open('{}', 'w')", "eval"),
        (exec, "open('{}', 'w')", "exec"),
        (subprocess.call, "touch {}", "call"),
        (np.load, "{}", "numpy.load"),
        (getattr, "{}", "getattr"),
        (np.fromfile, "{}", "numpy.fromfile"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_any_other_global_is_refused_before_it_runs(path, function, args, refused, protocol):
    witness = path.with_name("it-ran")
    evil = Call(function, args.format(witness))
    path.write_bytes(pickle.dumps({b"data": PIXELS, b"labels": [evil]}, protocol))
    with pytest.raises(DataError, match=f"{path}: refused.*{refused}"):
        read_batch(path)
    assert not witness.exists()


def test_the_evil_pickle_of_these_tests_would_have_run(path):
    witness = path.with_name("it-ran")
    pickle.loads(pickle.dumps(Call(os.system, f"touch {witness}")))
    assert witness.exists()


@pytest.mark.parametrize("array", [PIXELS.astype(np.int64), PIXELS.astype(object)])
def test_arrays_of_another_type_are_refused(path, array):
    path.write_bytes(pickle.dumps({b"data": array}, 2))
    with pytest.raises(DataError, match=f"{path}: holds an array that is not uint8"):
        read_batch(path)


def test_an_array_that_claims_more_than_its_bytes_is_refused(path, python2):
    content = python2().dumps({b"data": PIXELS})
    rows, more = (b"J" + n.to_bytes(4, "little") for n in (4, 2**30))
    assert content.count(rows) == 1
    path.write_bytes(content.replace(rows, more))
    with pytest.raises(DataError, match="bytes and shape differ"):
        read_batch(path)


def test_something_else_than_a_dictionary_is_refused(path):
    path.write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(DataError, match=f"{path}: holds a list, not a dictionary"):
        read_batch(path)


def test_a_directory_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}: not readable"):
        read_batch(tmp_path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_a_dictionary_or_a_data_error(data, python2, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "batch"
    content = bytearray(python2().dumps({b"labels": [1, 2, 3], b"data": PIXELS}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        outcome = read_batch(path)
    except DataError as error:
        outcome = str(error)
    assert isinstance(outcome, dict) or str(path) in outcome
