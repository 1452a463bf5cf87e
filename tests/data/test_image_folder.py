import dataclasses
import os

import pytest
import torch
from folders import write_folders

from impcore import data
from impcore.data import DeviceBatches, image_folder
from impcore.data.decode import decode
from impcore.data.share import Share
from impcore.errors import DataError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of three classes, and what it holds."""
    root = tmp_path_factory.mktemp("folders")
    return root, write_folders(root)


@pytest.fixture(scope="module")
def dataset(made):
    return data.load("image_folder", root=made[0], image_size=7)


def middle(path):
    image = decode(path, 8)
    top, left = (round((side - 7) / 2) for side in image.shape[:2])
    return torch.from_numpy(image[top : top + 7, left : left + 7].copy()).permute(2, 0, 1)


def batches(dataset, split=None, **options):
    options = {"batch_size": 5} | options
    return DeviceBatches(split or dataset.train, dataset, **options)


def test_images_in_order_are_their_middles_normalised(made, dataset):
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (18, 6, 3)
    assert dataset.train.shape == (3, 7, 7)
    mean, std = (
        torch.tensor(n, dtype=torch.float64)[:, None, None] for n in (dataset.mean, dataset.std)
    )
    for split, part in ((dataset.train, "train"), (dataset.test, "val")):
        seen = list(batches(dataset, split).eval_batches(4))
        images, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
        assert labels.tolist() == [label for _, label in made[1][part]]
        expected = torch.stack([middle(path) for path, _ in made[1][part]]).double() / 255
        torch.testing.assert_close(images.double(), (expected - mean) / std, atol=1e-6, rtol=0)


@pytest.mark.parametrize("augment", ["none", "resized_crop"])
def test_an_epoch_can_be_taken_up_at_any_step(dataset, augment):
    loader = batches(dataset, augment=augment, seed=3)
    for epoch in (0, 1):
        whole = list(loader.epoch(epoch))
        assert len(whole) == loader.steps_per_epoch == 4
        for start in range(5):
            rest = list(loader.epoch(epoch, start))
            assert len(rest) == 4 - start
            for (x, y), (again, labels) in zip(whole[start:], rest, strict=True):
                assert torch.equal(x, again)
                assert torch.equal(y, labels)
        assert sorted(torch.cat([y for _, y in whole]).tolist()) == sorted(
            dataset.train.labels.tolist()
        )
    first, second = (next(iter(loader.epoch(epoch)))[0] for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_layout_does_not_change_the_bits_and_seeds_do(dataset):
    def images(**options):
        loader = batches(dataset, augment="resized_crop", **options)
        return torch.cat([x for x, _ in loader.epoch(0)])

    plain = images()
    last = images(memory_format=torch.channels_last)
    assert torch.equal(plain, last)
    loader = batches(dataset, memory_format=torch.channels_last)
    x = next(iter(loader.epoch(0)))[0]
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(plain, images(seed=1))
    assert loader.held == "stored"


def test_an_image_does_not_depend_on_the_batch_it_is_in(dataset):
    def images(**options):
        loader = batches(dataset, augment="resized_crop", **options)
        return [x for x, _ in loader.epoch(2)]

    whole = torch.cat(images(batch_size=18))
    assert torch.equal(torch.cat(images(batch_size=4)), whole)
    shares = [images(batch_size=6, share=Share(rank, 2)) for rank in (0, 1)]
    dealt = [torch.cat(pair) for pair in zip(*shares, strict=True)]
    assert torch.equal(torch.cat(dealt), whole)


def test_leaving_an_epoch_early_leaves_no_threads(dataset):
    import threading

    loader = batches(dataset, batch_size=2, augment="resized_crop")
    epoch = loader.epoch(0)
    next(epoch)
    epoch.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("impcore-read")]


def test_augmentation_sees_more_than_the_middle(dataset):
    plain = torch.cat([x for x, _ in batches(dataset, augment="none").epoch(0)])
    cropped = torch.cat([x for x, _ in batches(dataset, augment="resized_crop").epoch(0)])
    assert not any(torch.equal(a, b) for a, b in zip(plain, cropped, strict=True))


def test_held_out_images_are_spread_over_the_classes(dataset):
    held = dataset.hold_out(6)
    assert held.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(held.train), len(held.validation)) == (12, 6)
    every = torch.cat([held.train.index, held.validation.index]).sort().values
    assert torch.equal(every, dataset.train.index)
    x, _ = next(batches(held, held.validation).eval_batches(6))
    whole = torch.cat([x for x, _ in batches(dataset).eval_batches()])
    assert torch.equal(x, whole[held.validation.index])
    assert held.fingerprint != dataset.fingerprint


def test_what_batches_cannot_do_is_refused(dataset):
    with pytest.raises(ValueError, match=r"augment: no augment 'flip_crop'.*none, resized_crop"):
        batches(dataset, augment="flip_crop")
    with pytest.raises(ValueError, match=r"held: 'normalised'"):
        batches(dataset, held="normalised")


def test_loading_again_decodes_nothing_and_is_the_same(made, dataset, monkeypatch):
    from impcore.data import image_cache

    monkeypatch.setattr(image_cache, "ProcessPoolExecutor", None)
    again = data.load("image_folder", root=made[0], image_size=7)
    assert again.fingerprint == dataset.fingerprint
    other = dataclasses.replace(again.train, size=6)
    assert dataclasses.replace(again, train=other, test=other).fingerprint != dataset.fingerprint


def test_an_image_replaced_by_one_of_equal_length_is_another_image(tmp_path):
    write_folders(tmp_path, train=2, val=1)
    path = tmp_path / "train" / "n01" / "0.png"
    before = [one.folder for one in image_folder.survey(image_folder.ANY, tmp_path).wanted]
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    after = [one.folder for one in image_folder.survey(image_folder.ANY, tmp_path).wanted]
    assert before[0] != after[0]
    assert before[1] == after[1]


def folder(tmp_path, **options):
    write_folders(tmp_path, train=2, val=1, **options)
    return tmp_path


def _stray(root):
    (root / "train" / "n02" / "notes.txt").write_text("no image")


def _stray_class(root):
    (root / "val" / "LICENSE").write_text("no class")


def _nested(root):
    (root / "train" / "n01" / "more.png").mkdir()


def _empty(root):
    for path in (root / "train" / "n03").iterdir():
        path.unlink()


def _another_class(root):
    (root / "val" / "n04").mkdir()


def _lost_class(root):
    (root / "val" / "n02" / "0.png").unlink()
    (root / "val" / "n02").rmdir()


FAULTS = [
    (_stray, r"train/n02/notes\.txt: is not an image \(\.jpeg, .*remove it"),
    (_stray_class, r"val/LICENSE: is not a class, which is a folder"),
    (_nested, r"train/n01/more\.png: is not an image"),
    (_empty, r"train/n03: has no images"),
    (_another_class, r"val: should have the classes .*'n04' is in one of them only"),
    (_lost_class, r"val: should have the classes .*'n02' is in one of them only"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_folders_that_are_none_of_images_are_named(tmp_path, fault, message):
    root = folder(tmp_path)
    fault(root)
    with pytest.raises(DataError, match=message) as info:
        data.load("image_folder", root=root, image_size=7)
    assert str(tmp_path) in str(info.value)
    assert not (root / "impcore-cache").exists()


def test_hidden_files_are_left_out(tmp_path):
    root = folder(tmp_path)
    (root / "train" / ".DS_Store").write_text("x")
    (root / "train" / "n01" / "._0.png").write_text("x")
    spec = dataclasses.replace(image_folder.ANY, classes=3)
    assert len(image_folder.load(spec, root, image_size=7, cache=tmp_path / "elsewhere").train) == 6
    assert not (root / "impcore-cache").exists()
    assert (tmp_path / "elsewhere").is_dir()


def test_imagenet_has_a_thousand_classes_in_its_own_folder(tmp_path):
    with pytest.raises(DataError, match=r"imagenet: train, val missing from .*imagenet; to get"):
        data.load("imagenet", root=tmp_path)
    folder(tmp_path / "imagenet")
    with pytest.raises(DataError, match=r"train has 3 classes \(folders\), should have 1000"):
        data.load("imagenet", root=tmp_path)


def test_an_option_of_folders_is_refused_elsewhere():
    with pytest.raises(DataError, match=r"image_size: 8, but only imagenet and image_folder"):
        data.load("digits", image_size=8)


@pytest.mark.gpu
def test_every_device_gives_the_same_bits(dataset):
    for augment in ("none", "resized_crop"):
        host, device = (
            torch.cat([x.cpu() for x, _ in batches(dataset, augment=augment, device=d).epoch(1)])
            for d in ("cpu", "cuda")
        )
        assert torch.equal(host, device)
