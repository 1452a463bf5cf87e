import numpy as np
import pytest
import torch

from impcore import data
from impcore.data.digits import derived

PINNED = {
    "digits_parity": "3d17b1cd8335b4d64872d3df0c9a31992c785f1a58fa316fdb296415bd93b5af",
    "digits_rotation": "fb8e881d37b213db5d232bb3746445466f5c145392ade54e5187409f5df1ad59",
    "digits_noisy": "a79dcc7c74cd3ba264a3e9037a04ab2b8058912c4776d07ee617c26de5c1ca13",
}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def splits(name, digits):
    dataset = data.load(name)
    assert dataset.name == name
    return [(dataset.train, digits.train), (dataset.test, digits.test)], dataset


def test_parity_is_the_digit_modulo_two(digits):
    pairs, dataset = splits("digits_parity", digits)
    for made, whole in pairs:
        assert torch.equal(made.images, whole.images)
        assert made.labels.tolist() == [label % 2 for label in whole.labels.tolist()]
    assert dataset.num_classes == 2


def test_rotation_has_every_image_at_every_quarter_turn(digits):
    pairs, dataset = splits("digits_rotation", digits)
    for made, whole in pairs:
        count = len(whole)
        assert len(made) == 4 * count
        for turns in range(4):
            part = slice(turns * count, (turns + 1) * count)
            assert set(made.labels[part].tolist()) == {turns}
            wanted = np.rot90(whole.images.numpy(), turns, axes=(2, 3))
            assert np.array_equal(made.images[part].numpy(), wanted)
    assert dataset.num_classes == 4
    assert (dataset.mean, dataset.std) == (digits.mean, digits.std)  # the same pixels, elsewhere


def test_noise_moves_pixels_evenly_within_its_bounds_and_once_for_all(digits):
    pairs, dataset = splits("digits_noisy", digits)
    again = data.load("digits_noisy")
    assert torch.equal(dataset.train.images, again.train.images)
    for made, whole in pairs:
        assert torch.equal(made.labels, whole.labels)
        moved = made.images.int() - whole.images.int()
        assert int(moved.abs().max()) == derived.NOISE
        assert int(made.images.max()) == 16
        middle = moved[whole.images == 8].double()  # where clipping is even
        assert abs(middle.mean().item()) < 4 * middle.std().item() / len(middle) ** 0.5
    pixels = dataset.train.images.double() / dataset.scale
    assert dataset.mean == (round(pixels.mean().item(), 4),)
    assert dataset.std == (round(pixels.std(correction=0).item(), 4),)


def test_the_splits_noise_is_not_the_same(digits):
    pairs, _ = splits("digits_noisy", digits)
    first, second = ((made.images[:400].int() - whole.images[:400].int()) for made, whole in pairs)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(PINNED))
def test_the_fingerprint_is_pinned(name):
    # Resuming an old run compares it: a change of the images, labels or constants shows here.
    assert data.load(name).fingerprint == PINNED[name]
