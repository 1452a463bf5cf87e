import multiprocessing
import os

import numpy as np
import pytest
from folders import picture

from impcore.data import image_cache
from impcore.data.decode import decode
from impcore.errors import DataError


def nothing():
    pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Seven images in shards of three, wanted but not yet decoded."""
    monkeypatch.setattr(image_cache, "SHARD", 3)
    files = []
    for i in range(7):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        picture(i, (9 + i, 12)).save(path)
        files.append((path.name, path.stat().st_size, 0))

    def want(changed=None, side=8):
        return image_cache.wanted(
            tmp_path / "cache", "x", changed or files, tmp_path / "images", side
        )

    want.files = files
    return want


@pytest.fixture
def in_process(monkeypatch):
    """Decode in this process: starting workers takes seconds."""

    class Pool:
        def __init__(self, *_):
            pass

        def submit(self, call, *arguments):
            from concurrent.futures import Future

            done = Future()
            try:
                done.set_result(call(*arguments))
            except Exception as error:
                done.set_exception(error)
            return done

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(image_cache, "ProcessPoolExecutor", Pool)


def test_worker_processes_decode_what_is_wanted(cache):
    checks = []
    image_cache.make([cache()], lambda: checks.append(os.getpid()))
    assert len(checks) == 3
    store = image_cache.open_store(cache())
    assert len(store) == 7
    assert [len(shard) > 0 for shard in store.shards] == [True] * 3
    for i, name in enumerate(cache().names):
        assert np.array_equal(store.image(i), decode(cache().root / name, 8))
        assert isinstance(store.image(i).base, np.memmap)
    assert not multiprocessing.active_children()


def test_a_fault_in_a_worker_reaches_the_caller_by_name(cache):
    (cache().root / "4.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"4\.png: not readable as an image at byte"):
        image_cache.make([cache()], nothing)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("in_process")
class TestMaking:
    def test_a_complete_cache_is_not_touched(self, cache):
        image_cache.make([cache()], nothing)
        before = {p: p.stat().st_mtime_ns for p in cache().folder.iterdir()}
        digest = image_cache.open_store(cache()).digest
        image_cache.make([cache()], nothing)
        assert {p: p.stat().st_mtime_ns for p in cache().folder.iterdir()} == before
        assert image_cache.open_store(cache()).digest == digest

    def test_what_was_stopped_goes_on_where_it_was(self, cache):
        class Stop(Exception):
            pass

        def stop():
            raise Stop

        with pytest.raises(Stop):
            image_cache.make([cache()], stop)
        # Here all jobs had run; a stopped one leaves the pixels without their record, or nothing.
        (cache().folder / "shard-00001.json").unlink()
        (cache().folder / "shard-00002.json").unlink()
        (cache().folder / "shard-00002.npy").unlink()
        kept = (cache().folder / "shard-00000.npy").stat().st_mtime_ns
        image_cache.make([cache()], nothing)
        assert (cache().folder / "shard-00000.npy").stat().st_mtime_ns == kept
        assert len(image_cache.open_store(cache())) == 7

    def test_other_images_get_another_cache(self, cache):
        one, other = cache(), cache([*cache.files[:-1], ("6.png", 1, 0)])
        assert one.folder != other.folder
        name, size, _ = cache.files[0]
        assert cache([(name, size, 1), *cache.files[1:]]).folder != one.folder
        assert cache(side=9).folder not in (one.folder, other.folder)
        assert cache().folder == one.folder

    def test_data_sets_that_share_a_folder_of_caches_share_no_cache(self, cache, tmp_path):
        def want(folder, kept):
            found = image_cache.wanted(kept, "x", cache.files, folder / "train", 8)
            return found.folder.name

        one, other, shared = tmp_path / "one", tmp_path / "other", tmp_path / "shared"
        assert want(one, shared) != want(other, shared)
        assert want(one, one / "kept") == want(other, other / "kept")  # as if it had been moved
        assert want(one, one / ".." / "shared") == want(one, shared)
        assert want(one, other / ".." / "one" / "kept") == want(one, one / "kept")

    def test_the_digest_is_of_the_pixels(self, cache):
        image_cache.make([cache()], nothing)
        digest = image_cache.open_store(cache()).digest
        picture(99, (9, 12)).save(cache().root / "0.png")
        changed = cache([("0.png", 0, 0), *cache.files[1:]])
        image_cache.make([changed], nothing)
        assert image_cache.open_store(changed).digest != digest

    @pytest.mark.parametrize("fault", ["truncated", "longer", "record", "hash", "count", "missing"])
    def test_a_damaged_shard_is_refused_with_what_to_do(self, cache, fault):
        image_cache.make([cache()], nothing)
        pixels = cache().folder / "shard-00001.npy"
        record = pixels.with_suffix(".json")
        if fault == "truncated":
            pixels.write_bytes(pixels.read_bytes()[:-1])
        elif fault == "longer":
            np.save(pixels, np.append(np.load(pixels), np.uint8(0)))
        elif fault == "record":
            record.write_text("{")
        elif fault == "hash":
            record.write_text('{"sizes": [[8, 8], [8, 8], [8, 8]]}')
        elif fault == "count":
            record.write_bytes((cache().folder / "shard-00002.json").read_bytes())
        else:
            pixels.unlink()
        with pytest.raises(DataError, match=r"shard-00001\.npy: damaged .*delete it and shard-000"):
            image_cache.open_store(cache())

    def test_a_second_process_waits_for_the_first_and_can_be_stopped(self, cache):
        class Stop(Exception):
            pass

        waited = []

        def stop():
            waited.append(1)
            if len(waited) == 2:
                raise Stop

        cache().folder.mkdir(parents=True)
        with image_cache._lock(cache().folder, nothing), pytest.raises(Stop):
            image_cache.make([cache()], stop)
        assert not list(cache().folder.glob("shard*"))
        image_cache.make([cache()], nothing)
        assert len(image_cache.open_store(cache())) == 7

    def test_every_cache_is_locked_as_another_data_set_may_share_it(self, cache):
        class Stop(Exception):
            pass

        def stop():
            raise Stop

        training, testing = cache(side=9), cache()
        testing.folder.mkdir(parents=True)
        with image_cache._lock(testing.folder, nothing), pytest.raises(Stop):
            image_cache.make([training, testing], stop)
        assert not list(testing.folder.glob("shard*"))

    def test_too_little_space_is_said_before_anything_is_decoded(self, cache, monkeypatch):
        usage = type("Usage", (), {"free": 700})
        monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(DataError, match=r"data\.cache: .* needs about 0\.0 GB"):
            image_cache.make([cache()], nothing)
        assert not list(cache().folder.glob("shard*"))

    def test_no_place_to_write_is_the_keys_fault(self, cache, tmp_path):
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(DataError, match=r"data\.cache: .*cache.*name another"):
            image_cache.make([cache()], nothing)
