import gzip

import numpy as np
import pytest
from idx_bytes import idx_bytes

from impcore import data
from impcore.errors import DataError


@pytest.fixture
def root(tmp_path, write_fashion_mnist):
    write_fashion_mnist(tmp_path)
    return tmp_path


def test_images_and_labels_are_the_files(tmp_path, write_fashion_mnist):
    parts = write_fashion_mnist(tmp_path)
    dataset = data.load("fashion_mnist", root=tmp_path)
    for split, part in ((dataset.train, "train"), (dataset.test, "t10k")):
        pixels, labels = parts[part]
        assert np.array_equal(split.images[:, 0].numpy(), pixels)
        assert split.images.shape == (7, 1, 28, 28)
        assert split.labels.tolist() == labels.tolist()
    assert (dataset.num_classes, dataset.mean, dataset.std) == (10, (0.1436,), (0.1609,))


def test_missing_files_are_named_with_where_and_how(root):
    name = "t10k-labels-idx1-ubyte.gz"
    (root / "FashionMNIST" / "raw" / name).unlink()
    with pytest.raises(DataError) as info:
        data.load("fashion_mnist", root=root)
    message = str(info.value)
    assert message.startswith(f"fashion_mnist: {name} missing from {root}/FashionMNIST/raw;")
    assert "bb300cfdad3c16e7a12a480ee83cd310" in message


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte.gz", np.zeros(6), "6 labels beside 7 images"),
        ("t10k-labels-idx1-ubyte.gz", np.arange(4, 11), r"label 6 \(byte 14\) is 10, not 0 to 9"),
        ("train-images-idx3-ubyte.gz", np.zeros((7, 28, 27)), r"holds \[7, 28, 27\] at byte 4"),
        ("t10k-images-idx3-ubyte.gz", np.zeros(7), "starts with 0x00000801 at byte 0"),
    ],
)
def test_malformed_files_are_named_with_their_fault(root, name, array, message):
    path = root / "FashionMNIST" / "raw" / name
    path.write_bytes(gzip.compress(idx_bytes(array)))
    with pytest.raises(DataError, match=message) as info:
        data.load("fashion_mnist", root=root)
    assert str(path) in str(info.value)
