import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impcore.data import Dataset, DeviceBatches, Split, held_images
from impcore.data.share import Share
from impcore.errors import DataError

FORMATS = [torch.contiguous_format, torch.channels_last]


def numbered(count, height=5, width=6):
    """Images that tell who they are: a pixel is (image, place), labels are the image number."""
    number = torch.arange(count)
    images = torch.stack(
        [number[:, None].expand(-1, height * width), torch.arange(height * width).expand(count, -1)]
    )
    images = images.permute(1, 0, 2).reshape(count, 2, height, width) + 1
    split = Split(images.byte(), number)
    return Dataset("numbered", split, split, count, (0.25, 0.5), (0.5, 2.0), 255, 2)


def batches(dataset, **options):
    return DeviceBatches(dataset.train, dataset, **({"batch_size": 4} | options))


def equal(left, right):
    """Whether two sequences of batches are the same to the bit (which tells 0 from -0)."""
    left, right = list(left), list(right)
    bits = [[(x.contiguous().view(torch.uint8), y) for x, y in side] for side in (left, right)]
    return len(left) == len(right) and all(
        torch.equal(x, other_x) and torch.equal(y, other_y)
        for (x, y), (other_x, other_y) in zip(*bits, strict=True)
    )


options = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 30),
        "augment": st.sampled_from(Split.augmentations),
        "crop_padding": st.none() | st.integers(0, 3),
        "seed": st.integers(-(2**70), 2**70),
        "memory_format": st.sampled_from(FORMATS),
        "dtype": st.sampled_from([torch.float32, torch.bfloat16]),
    }
)


@settings(deadline=None)
@given(count=st.integers(1, 60), epoch=st.integers(0, 10**9), chosen=options, data=st.data())
def test_going_on_at_any_step_gives_the_bits_of_an_uninterrupted_pass(count, epoch, chosen, data):
    dataset = numbered(count)
    chosen["drop_last"] = count >= chosen["batch_size"] and data.draw(st.booleans())
    first, again = batches(dataset, **chosen), batches(dataset, **chosen, held="raw")
    whole = list(first.epoch(epoch))
    assert len(whole) == first.steps_per_epoch
    for start in {0, data.draw(st.integers(0, len(whole))), len(whole)}:
        assert equal(first.epoch(epoch, start), whole[start:])
        assert equal(again.epoch(epoch, start), whole[start:])


@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), epoch=st.integers(0, 5))
def test_an_epoch_sees_every_image_once_and_never_a_batch_of_one(count, batch_size, epoch):
    labels = [y.tolist() for _, y in batches(numbered(count), batch_size=batch_size).epoch(epoch)]
    assert sorted(itertools.chain(*labels)) == list(range(count))
    sizes = list(map(len, labels))
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] <= batch_size + 1
    assert 1 not in sizes or batch_size == 1 or count == 1


@given(batch_size=st.integers(1, 20), extra=st.integers(0, 40))
def test_drop_last_keeps_whole_batches_only(batch_size, extra):
    made = batches(numbered(batch_size + extra), batch_size=batch_size, drop_last=True)
    labels = [y.tolist() for _, y in made.epoch(0)]
    assert set(map(len, labels)) == {batch_size}
    assert len(labels) == made.steps_per_epoch == (batch_size + extra) // batch_size
    assert len(set(itertools.chain(*labels))) == batch_size * len(labels)


def windows(dataset, padding, flips):
    """Every augmented form of every image: (label, bytes of the normalised window)."""
    images, found = dataset.train.images.double(), {}
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, [padding] * 4)
    mean, std = (
        torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (dataset.mean, dataset.std)
    )
    padded = ((padded / dataset.scale - mean) / std).float()
    for dy, dx, flip in itertools.product(range(2 * padding + 1), range(2 * padding + 1), flips):
        window = padded[:, :, dy : dy + height, dx : dx + width]
        window = window.flip(3) if flip else window
        for label, image in enumerate(window):
            found[label, image.contiguous().numpy().tobytes()] = (dy, dx, flip)
    return found


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    ("augment", "padding", "flips"),
    [
        ("none", 0, [False]),
        ("crop", 1, [False]),
        ("crop", 2, [False]),
        ("flip_crop", 1, [False, True]),
    ],
)
def test_augmentation_draws_each_window_of_the_padded_image_equally_often(
    augment, padding, flips, memory_format
):
    dataset = numbered(12)
    made = batches(dataset, augment=augment, crop_padding=padding, memory_format=memory_format)
    known = windows(dataset, padding, flips)
    drawn = Counter()
    for epoch in range(40):
        for x, y in made.epoch(epoch):
            for image, label in zip(x, y, strict=True):
                drawn[known[int(label), image.contiguous().numpy().tobytes()]] += 1
    forms = (2 * padding + 1) ** 2 * len(flips)
    expected = 12 * 40 / forms
    assert len(drawn) == forms
    chi2 = sum((n - expected) ** 2 / expected for n in drawn.values())
    assert chi2 < forms - 1 + 5 * (2 * forms) ** 0.5


def test_seeds_and_epochs_have_orders_of_their_own(make_dataset):
    dataset = numbered(50)
    orders = {
        tuple(torch.cat([y for _, y in batches(dataset, seed=seed).epoch(epoch)]).tolist())
        for seed in (-1, 0, 1, 2**32, 2**64)
        for epoch in (0, 1, 2**32)
    }
    assert len(orders) == 15


def test_the_order_does_not_depend_on_the_augmentation():
    dataset = numbered(50)
    orders = [
        torch.cat([y for _, y in batches(dataset, augment=augment).epoch(3)])
        for augment in Split.augmentations
    ]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("held", ["normalised", "raw"])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("augment", Split.augmentations)
def test_evaluation_is_in_order_and_never_augmented(make_dataset, augment, memory_format, held):
    dataset = make_dataset(count=23)
    made = batches(dataset, augment=augment, memory_format=memory_format, held=held)
    assert made.held == held
    assert len(made) == 23
    mean, std = (torch.tensor(v)[:, None, None] for v in (dataset.mean, dataset.std))
    expected = (dataset.train.images.double() / 255 - mean) / std
    for size, steps in ((None, 6), (11, 3), (100, 1)):
        xs, ys = zip(*made.eval_batches(size), strict=True)
        assert len(xs) == steps
        torch.testing.assert_close(torch.cat(xs).double(), expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(torch.cat(ys), dataset.train.labels)
        assert all(x.is_contiguous(memory_format=memory_format) for x in xs)


@pytest.mark.parametrize("held", ["normalised", "raw"])
@pytest.mark.parametrize("augment", ["none", "crop"])
def test_writing_into_a_batch_changes_no_later_one(make_dataset, augment, held):
    made = batches(make_dataset(), augment=augment, held=held)

    def every():
        return [(x.clone(), y.clone()) for x, y in (*made.epoch(0), *made.eval_batches())]

    before = every()
    for x, y in (*made.epoch(0), *made.eval_batches()):
        x.zero_()
        y.zero_()
    assert equal(every(), before)


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 30),
    crop=st.booleans(),
    limit=st.integers(1, 5000),
)
def test_batches_cut_out_of_one_gather_are_as_if_each_had_its_own(count, batch_size, crop, limit):
    made = batches(numbered(count), batch_size=batch_size, augment="crop" if crop else "none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_images, "_TOGETHER", 0)
        alone = list(made.epoch(1))
        patch.setattr(held_images, "_TOGETHER", limit)
        together = list(made.epoch(1))
    assert equal(together, alone)
    assert all(x.data_ptr() % 64 == 0 for x, _ in together)
    for (x, _), (y, _) in itertools.pairwise(together):
        before = y._version
        x.add_(1)
        assert y._version == before


def test_small_batches_share_a_gather_and_large_ones_do_not(make_dataset, monkeypatch):
    made = batches(make_dataset(count=64), batch_size=16)
    image = 3 * 5 * 6 * 4
    for together, gathers in ((64 * image, 1), (33 * image, 2), (20 * image, 4), (0, 4)):
        monkeypatch.setattr(held_images, "_TOGETHER", together)
        storages = {x.untyped_storage().data_ptr() for x, _ in list(made.epoch(0))}
        assert len(storages) == gathers


def test_the_global_generator_is_left_alone(make_dataset):
    state = torch.get_rng_state()
    list(batches(make_dataset(), augment="flip_crop").epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch_size", 0, "0 is not an integer of at least 1"),
        ("batch_size", -4, "-4"),
        ("batch_size", True, "True"),
        ("batch_size", 4.0, r"4\.0"),
        ("crop_padding", -1, "-1 is not an integer of at least 0"),
        ("crop_padding", False, "False"),
        ("seed", True, "True"),
        ("seed", "0", "'0' is not an integer"),
        ("augment", "flip-crop", "'flip-crop'.*nearest: 'flip_crop'.*none, crop, flip_crop"),
        ("augment", None, "None"),
        ("held", "gpu", "'gpu'.*auto, normalised, raw"),
        ("dtype", torch.int8, r"torch\.int8 is not a floating type"),
        ("memory_format", torch.channels_last_3d, "channels_last_3d"),
    ],
)
def test_bad_arguments_are_named_and_quoted(make_dataset, field, value, message):
    with pytest.raises(ValueError, match=f"{field}: .*{message}"):
        batches(make_dataset(), **{field: value})


def test_integers_of_numpy_are_those_of_python(make_dataset):
    numbers = {"batch_size": 4, "seed": 3, "crop_padding": 1}
    same, made = (
        batches(make_dataset(), augment="crop", **{name: of(n) for name, n in numbers.items()})
        for of in (int, np.int64)
    )
    assert type(made.batch_size) is type(made.seed) is int
    epochs = zip(same.epoch(2, 1), made.epoch(np.int64(2), np.uint8(1)), strict=True)
    assert all(torch.equal(a, b) for one, other in epochs for a, b in zip(one, other, strict=True))
    assert len(list(made.eval_batches(np.int64(7)))) == len(list(same.eval_batches(7)))


def test_positions_outside_the_epoch_are_refused_at_the_call(make_dataset):
    made = batches(make_dataset(count=23))
    for arguments in [(-1,), (True,), (0.0,), (0, -1), (0, 7), (0, True)]:
        with pytest.raises(ValueError, match=r"epoch: |start_step: "):
            made.epoch(*arguments)
    with pytest.raises(ValueError, match="batch_size: 0"):
        made.eval_batches(0)


def test_nothing_to_make_batches_of_is_refused(make_dataset):
    dataset = make_dataset(count=3)
    empty = Split(dataset.train.images[:0], dataset.train.labels[:0])
    with pytest.raises(DataError, match="split: empty"):
        DeviceBatches(empty, dataset, batch_size=4)
    with pytest.raises(DataError, match="batch_size: 4 and drop_last leave none of 3"):
        batches(dataset, drop_last=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("held", ["normalised", "raw"])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("augment", Split.augmentations)
def test_a_gpu_gives_the_bits_of_the_cpu(make_dataset, augment, memory_format, held):
    dataset = make_dataset(count=50)
    chosen = {"augment": augment, "memory_format": memory_format, "dtype": torch.bfloat16}
    here, there = (batches(dataset, **chosen, held=held, device=d) for d in ("cpu", "cuda"))
    for ours, theirs in (
        (here.epoch(2), there.epoch(2)),
        (here.eval_batches(), there.eval_batches()),
    ):
        theirs = list(theirs)
        assert all(x.is_cuda and y.is_cuda for x, y in theirs)
        assert equal(ours, [(x.cpu(), y.cpu()) for x, y in theirs])


@pytest.mark.parametrize("augment", ["none", "flip_crop"])
def test_shares_together_are_the_batch(augment):
    options = {"batch_size": 6, "augment": augment, "seed": 4}
    shared = [batches(numbered(24), share=Share(rank, 3), **options) for rank in range(3)]
    whole = list(batches(numbered(24), **options).epoch(1))
    parts = list(zip(*(made.epoch(1) for made in shared), strict=True))
    together = [tuple(map(torch.cat, zip(*part, strict=True))) for part in parts]
    assert equal(together, whole)
    assert equal(list(shared[1].epoch(1, whole=True)), whole)
    assert all(made.weight(1, range(0, 4)) == 1 for made in shared)
    dealt = [batch for made in shared for batch in made.eval_batches(5)]
    assert len(torch.cat([labels for _, labels in dealt]).unique()) == 24


def test_a_split_needs_an_image_for_each_share():
    with pytest.raises(DataError, match="2 examples are not one for each of 3"):
        batches(numbered(2), batch_size=3, share=Share(0, 3))
