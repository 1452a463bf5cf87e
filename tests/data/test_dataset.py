import dataclasses

import pytest
import torch

from impcore.data import Split
from impcore.errors import DataError


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2).long(), r"images: uint8 .*float32 \[2, 1, 3, 3\]"),
        (torch.zeros(2, 3, 3).byte(), torch.zeros(2).long(), r"images: .*uint8 \[2, 3, 3\]"),
        (torch.zeros(2, 1, 3, 3).byte(), torch.zeros(3).long(), r"labels: int64 \[2\].*\[3\]"),
        (torch.zeros(2, 1, 3, 3).byte(), torch.zeros(2).int(), r"labels: .*int32 \[2\]"),
    ],
)
def test_a_split_of_the_wrong_type_or_shape_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Split(images, labels)


def test_parts_that_do_not_fit_together_are_refused(make_dataset):
    with pytest.raises(DataError, match=r"images are \[3, 5, 6\], test images \[3, 6, 6\]"):
        make_dataset(test=make_dataset(height=6).test)
    with pytest.raises(DataError, match=r"mean \(0.5,\)"):
        make_dataset(mean=(0.5,))
    with pytest.raises(DataError, match=r"std positive"):
        make_dataset(std=(0.5, 0.0, 0.5))
    with pytest.raises(DataError, match=r"labels span 0 to 3, outside 0 to 2"):
        make_dataset(num_classes=3)
    with pytest.raises(DataError, match=r"train split is empty"):
        make_dataset(count=0)


def test_the_fingerprint_depends_on_content_alone(make_dataset):
    assert make_dataset().fingerprint == make_dataset(name="other", crop_padding=1).fingerprint
    transposed = make_dataset()
    images = transposed.train.images.to(memory_format=torch.channels_last)
    moved = dataclasses.replace(transposed, train=Split(images, transposed.train.labels))
    assert moved.fingerprint == transposed.fingerprint


def test_the_fingerprint_changes_with_every_part(make_dataset):
    dataset = make_dataset()
    variants = [dataset]
    for part in ("train", "test"):
        split = getattr(dataset, part)
        images, labels = split.images.clone(), split.labels.clone()
        images[-1, -1, -1, -1] ^= 1
        labels[-1] ^= 1
        for changed in (Split(images, split.labels), Split(split.images, labels)):
            variants.append(dataclasses.replace(dataset, **{part: changed}))
    reshaped = [
        Split(s.images.reshape(-1, 3, 6, 5), s.labels) for s in (dataset.train, dataset.test)
    ]
    variants.append(dataclasses.replace(dataset, train=reshaped[0], test=reshaped[1]))
    for change in ({"mean": (0.1, 0.2, 0.3)}, {"std": (1.0, 1.0, 1.0)}, {"scale": 16}):
        variants.append(dataclasses.replace(dataset, **change))
    variants.append(dataclasses.replace(dataset, num_classes=5))
    assert len({v.fingerprint for v in variants}) == len(variants)


def test_the_last_training_images_are_held_out(make_dataset):
    dataset = make_dataset()
    held = dataset.hold_out(5)
    assert (len(held.train), len(held.validation), len(held.test)) == (18, 5, 9)
    assert torch.equal(held.validation.images, dataset.train.images[18:])
    assert torch.equal(held.validation.labels, dataset.train.labels[18:])
    assert torch.equal(held.train.images, dataset.train.images[:18])
    assert held.test is dataset.test
    assert len({d.fingerprint for d in (dataset, held, dataset.hold_out(4))}) == 3


@pytest.mark.parametrize("count", [0, 23, 24])
def test_holding_out_nothing_or_everything_is_refused(make_dataset, count):
    with pytest.raises(DataError, match=rf"random: {count} images .* of 23 .* 1 to 22"):
        make_dataset().hold_out(count)
