import numpy as np
import pytest
from scipy.io import savemat

from impcore import data
from impcore.errors import DataError


@pytest.fixture
def root(tmp_path, write_svhn):
    write_svhn(tmp_path)
    return tmp_path


def test_images_and_labels_are_the_files(tmp_path, write_svhn):
    files = write_svhn(tmp_path)
    dataset = data.load("svhn", root=tmp_path)
    for split, name in ((dataset.train, "train_32x32.mat"), (dataset.test, "test_32x32.mat")):
        pixels, labels = files[name]
        assert split.labels.tolist() == [int(label) % 10 for label in labels[:, 0]]
        assert split.images.shape == (7, 3, 32, 32)
        # X[row, column, channel, image]
        for n, channel, y, x in ((0, 0, 0, 0), (5, 1, 30, 7), (6, 2, 7, 30)):
            assert split.images[n, channel, y, x] == pixels[y, x, channel, n]
    assert dataset.num_classes == 10
    assert dataset.mean == (0.4377, 0.4438, 0.4728)
    assert dataset.std == (0.1201, 0.1231, 0.1052)


def test_ten_is_zero_and_one_image_will_do(tmp_path, write_svhn):
    write_svhn(tmp_path, rows=1)
    assert data.load("svhn", root=tmp_path).train.labels.tolist() == [0]


def test_missing_files_are_named_with_where_and_how(root):
    (root / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(DataError) as info:
        data.load("svhn", root=root)
    message = str(info.value)
    assert message.startswith(f"svhn: test_32x32.mat missing from {root / 'svhn'};")
    assert "http://ufldl.stanford.edu/housenumbers/test_32x32.mat" in message


X, Y = np.zeros((32, 32, 3, 4), np.uint8), np.array([[1], [2], [10], [5]], np.uint8)
FAULTS = [
    ({"X": X}, "has no 'y'.*but X"),
    ({"y": Y}, "has no 'X'.*but y"),
    ({"X": X.astype(np.float64), "y": Y}, r"X is double \[32, 32, 3, 4\]"),
    ({"X": X[:, :31], "y": Y}, r"X is uint8 \[32, 31, 3, 4\]"),
    ({"X": X.transpose(3, 0, 1, 2), "y": Y}, r"X is uint8 \[4, 32, 32, 3\]"),
    ({"X": X[..., :0], "y": Y[:0]}, r"X is uint8 \[32, 32, 3, 0\]"),
    ({"X": X, "y": Y[:3]}, r"y is uint8 \[3, 1\], not uint8 \[4, 1\] beside 4 images"),
    ({"X": X, "y": "abcd"}, r"y is char"),
    ({"X": X, "y": np.array([[1], [2], [0], [5]], np.uint8)}, r"y\[2\] is 0, not a digit"),
    ({"X": X, "y": np.array([[1], [11], [2], [5]], np.uint8)}, r"y\[1\] is 11, not a digit"),
]


@pytest.mark.parametrize("name", ["train_32x32.mat", "test_32x32.mat"])
@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_malformed_files_are_named_with_their_fault(root, name, content, message):
    savemat(root / "svhn" / name, content)
    with pytest.raises(DataError, match=message) as info:
        data.load("svhn", root=root)
    assert str(root / "svhn" / name) in str(info.value)


def test_a_truncated_file_is_named_with_the_byte(root):
    path = root / "svhn" / "train_32x32.mat"
    content = path.read_bytes()
    for kept in (0, 60, 130, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"train_32x32\.mat: (not readable .* byte \d+|has no)"):
            data.load("svhn", root=root)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(DataError, match=r"train_32x32\.mat"):
        data.load("svhn", root=root)
