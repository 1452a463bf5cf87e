import gzip
from importlib import resources

import pytest
import torch

from impcore import data
from impcore.data import digits
from impcore.errors import DataError


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def file_rows():
    text = gzip.decompress((resources.files("impcore.data.digits") / "digits.csv.gz").read_bytes())
    return [[int(v) for v in line.split(",")] for line in text.decode().splitlines()]


def test_every_fourth_image_of_a_class_is_for_testing(dataset):
    seen = [0] * 10
    train, test = [], []
    for *pixels, label in file_rows():
        (test if seen[label] % 4 == 3 else train).append((pixels, label))
        seen[label] += 1
    for split, rows in ((dataset.train, train), (dataset.test, test)):
        assert split.images.shape == (len(rows), 1, 8, 8)
        assert split.images.flatten(1).tolist() == [pixels for pixels, _ in rows]
        assert split.labels.tolist() == [label for _, label in rows]
    assert (len(train), len(test)) == (1352, 445)


def test_the_published_facts(dataset):
    images = torch.cat([dataset.train.images, dataset.test.images])
    labels = torch.cat([dataset.train.labels, dataset.test.labels])
    assert len(images) == 1797
    assert (int(images.min()), int(images.max()), dataset.scale) == (0, 16, 16)
    # Class counts of optdigits.tes, from the UCI description.
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_mean_and_std_are_those_of_the_training_pixels(dataset):
    pixels = dataset.train.images.double() / dataset.scale
    assert dataset.mean == (round(pixels.mean().item(), 4),)
    assert dataset.std == (round(pixels.std(correction=0).item(), 4),)


def test_the_fingerprint_is_pinned(dataset):
    # Resuming an old run compares it: a change of the split, the file or a constant shows here.
    assert dataset.fingerprint == "2cc83bcc588e508d87c1e07db3b798a814b60cd6d0d2ca5b24c7dd05d9f05320"


def test_a_damaged_installation_is_named(monkeypatch, tmp_path):
    good = (resources.files("impcore.data.digits") / "digits.csv.gz").read_bytes()
    monkeypatch.setattr(digits.resources, "files", lambda _: tmp_path)
    for content in (None, good[:-9], b"", gzip.compress(gzip.decompress(good)[:-2])):
        if content is not None:
            (tmp_path / "digits.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"digits\.csv\.gz.*install"):
            digits.load()


def test_the_licence_travels_with_the_data():
    text = (resources.files("impcore.data.digits") / "LICENSE.txt").read_text()
    for said in ("CC BY 4.0", "10.24432/C50P49", "BSD 3-Clause License", "E. Alpaydin"):
        assert said in text
