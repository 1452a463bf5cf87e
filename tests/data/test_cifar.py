import numpy as np
import pytest
import torch

from impcore import data
from impcore.errors import DataError

CASES = [
    ("cifar10", "cifar-10-batches-py", "data_batch_3", b"labels", 10),
    ("cifar100", "cifar-100-python", "test", b"fine_labels", 100),
]
case = pytest.mark.parametrize(("name", "folder", "file", "key", "classes"), CASES)


@pytest.fixture
def root(tmp_path, write_cifar10, write_cifar100):
    write_cifar10(tmp_path)
    write_cifar100(tmp_path)
    return tmp_path


def check(split, files):
    pixels = np.concatenate([pixels for pixels, _ in files])
    assert split.labels.tolist() == [label for _, labels in files for label in labels]
    # A row is 1,024 red, then green, then blue values, each plane in row-major order.
    n, channel, y, x = 5, 1, 30, 7
    assert split.images[n, channel, y, x] == pixels[n, channel * 1024 + y * 32 + x]
    assert np.array_equal(split.images.numpy().reshape(len(pixels), -1), pixels)


def test_cifar10_is_read_in_the_order_of_its_batches(tmp_path, write_cifar10):
    files = write_cifar10(tmp_path)
    dataset = data.load("cifar10", root=tmp_path)
    check(dataset.train, [files[f"data_batch_{i}"] for i in range(1, 6)])
    check(dataset.test, [files["test_batch"]])
    assert dataset.mean == (0.4914, 0.4822, 0.4465)
    assert dataset.std == (0.2023, 0.1994, 0.2010)
    assert (dataset.scale, dataset.crop_padding) == (255, 4)


def test_cifar100_has_its_fine_labels(tmp_path, write_cifar100):
    files = write_cifar100(tmp_path)
    dataset = data.load("cifar100", root=str(tmp_path))
    check(dataset.train, [files["train"]])
    check(dataset.test, [files["test"]])
    assert dataset.mean == (0.5071, 0.4866, 0.4409)
    assert dataset.std == (0.2009, 0.1984, 0.2023)


def test_root_wins_over_the_environment(root, monkeypatch, tmp_path):
    monkeypatch.setenv("IMPCORE_DATA", str(root))
    assert len(data.load("cifar100").train) == 7
    with pytest.raises(DataError, match="elsewhere"):
        data.load("cifar100", root=tmp_path / "elsewhere")


@case
def test_missing_files_are_named_with_where_and_how(
    root, monkeypatch, name, folder, file, key, classes
):
    (root / folder / file).unlink()
    with pytest.raises(DataError) as info:
        data.load(name, root=root)
    message = str(info.value)
    assert message.startswith(f"{name}: {file} missing from {root / folder};")
    archive = f"https://www.cs.toronto.edu/~kriz/cifar-{classes}-python.tar.gz"
    assert archive in message
    assert "md5" in message
    for unset in (None, ""):
        if unset is None:
            monkeypatch.delenv("IMPCORE_DATA", raising=False)
        else:
            monkeypatch.setenv("IMPCORE_DATA", unset)
        with pytest.raises(DataError, match=rf"{file}.*\[data\].*IMPCORE_DATA.*{archive}"):
            data.load(name)


@case
def test_malformed_batches_are_named_with_their_fault(
    root, python2, name, folder, file, key, classes
):
    path = root / folder / file
    pixels, labels = np.zeros((3, 3072), np.uint8), [0, 1, classes - 1]
    good = {b"data": pixels, key: labels}
    path.write_bytes(python2().dumps(good))
    data.load(name, root=root)
    faults = [
        ({b"data": pixels}, f"has no '{key.decode()}'"),
        ({key: labels}, "has no 'data'"),
        ({b"data": pixels[:, :-1]}, r"\[3, 3071\]"),
        ({b"data": pixels.reshape(-1)}, r"\[9216\]"),
        ({b"data": [0]}, "'data' is list"),
        ({b"data": pixels[:2]}, "2 images but 3 labels"),
        ({b"data": pixels[:0], key: []}, "0 images but 0 labels"),
        ({key: b"abc"}, "3 images but bytes labels"),
        ({key: [0, 1, classes]}, f"label 2 is {classes}"),
        ({key: [0, -1, 1]}, "label 1 is -1"),
        ({key: [True, 1, 1]}, "label 0 is True"),
        ({key: [0.0, 1, 1]}, "label 0 is 0.0"),
    ]
    for change, message in faults:
        alone = len(change) == 1 and message.startswith("has no")
        path.write_bytes(python2().dumps(change if alone else good | change))
        with pytest.raises(DataError, match=message) as info:
            data.load(name, root=root)
        assert str(path) in str(info.value)


@case
def test_a_truncated_file_is_named(root, name, folder, file, key, classes):
    path = root / folder / file
    content = path.read_bytes()
    for kept in (0, 1, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match=f"{file}: not readable"):
            data.load(name, root=root)


def test_images_do_not_share_memory_with_anything_read_only(root):
    split = data.load("cifar10", root=root).train
    split.images[0] = 1
    assert torch.equal(split.images[0], torch.ones(3, 32, 32, dtype=torch.uint8))
