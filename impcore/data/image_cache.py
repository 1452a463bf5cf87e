"""The decoded images of a folder, kept on disk as memory maps.

Invariant: a cache belongs to one list of files, their lengths and times of change, whose hash is in
its name, so that other images get another cache. It is made in shards, each complete or absent:
making it goes on where it was stopped. A shard whose length is not what its record says is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from impcore import lock
from impcore.data.decode import start_worker, write_shard
from impcore.errors import DataError

SHARD = 512
"""Images a shard: 134 MB at a shorter side of 256, which is what a worker holds in memory."""

_VERSION = 2
_SAY_EVERY = 30.0  # seconds
_WAIT = 0.2  # seconds between looks at a lock
_log = logging.getLogger(__name__)

File = tuple[str, int, int]
"""A path below the images' root, the file's bytes, and when it was changed (ns since 1970)."""


@dataclass(frozen=True)
class Wanted:
    """The cache that a list of images should have.

    Attributes:
        root: the folder that the images are in.
        names: their paths below it, in the order in which they are kept. Not Path objects: a
            million of those take a gigabyte.
        side: pixels of the shorter side.
        folder: where the shards are.
    """

    root: Path
    names: Sequence[str]
    side: int
    folder: Path

    def shards(self) -> list[tuple[Path, Sequence[str]]]:
        """Each shard's place, without suffix, and its images."""
        starts = range(0, len(self.names), SHARD)
        return [
            (self.folder / f"shard-{start // SHARD:05d}", self.names[start : start + SHARD])
            for start in starts
        ]


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded images: image i is uint8 [heights[i], widths[i], 3] at starts[i] of its shard.

    Attributes:
        shards: one flat uint8 memory map a shard, of `SHARD` images but for the last.
        starts, heights, widths: int64 [N].
        digest: SHA-256 (hex) of all pixels, as hashed when they were decoded.
    """

    shards: list[np.ndarray]
    starts: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.starts)

    def image(self, index: int) -> np.ndarray:
        """Image `index`, uint8 [H, W, 3], not copied."""
        start, height, width = self.starts[index], self.heights[index], self.widths[index]
        flat = self.shards[index // SHARD][start : start + height * width * 3]
        return flat.reshape(height, width, 3)


def wanted(cache: Path, name: str, files: Sequence[File], root: Path, side: int) -> Wanted:
    """The cache, below the folder `cache`, of `files` below `root`.

    Beside them it may be moved with them. Elsewhere it is of this `root` alone: the images of
    others may have the same names, lengths and times.
    """
    beside = cache.resolve().is_relative_to(root.parent.resolve())
    place = "" if beside else f"{root.resolve()}\n"
    lines = (f"{path}\0{size} {changed}\n" for path, size, changed in files)
    content = f"{_VERSION} {side}\n{place}" + "".join(lines)
    digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache / f"{name}-{side}-{digest[:16]}"
    return Wanted(root, [path for path, *_ in files], side, folder)


def make(caches: Sequence[Wanted], check: Callable[[], None]) -> None:
    """Decode what is missing from the caches, in worker processes, one for each CPU.

    `check` is called between shards, and while another process makes the same cache; what it raises
    stops the work, and finished shards stay.

    Raises:
        DataError: an image that cannot be read, too little disk space, or no place to write.
    """
    if all(is_complete(cache) for cache in caches):
        return
    try:
        for cache in caches:
            cache.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as locks:
            for cache in caches:  # each may be another data set's too
                locks.enter_context(_lock(cache.folder, check))
            _check_space(caches[0].folder, needed(caches))
            _decode([(cache, *one) for cache in caches for one in _missing(cache)], check)
    except OSError as error:
        raise DataError(
            f"data.cache: {error.filename}: {error.strerror}; decoded images cannot be kept there, "
            "name another folder"
        ) from error


def open_store(cache: Wanted) -> Store:
    """The images of a complete cache.

    Raises:
        DataError: a shard is damaged; the message says what to do.
    """
    shards, sizes, digest = [], [], hashlib.sha256()
    for place, names in cache.shards():
        pixels, record = _open_shard(place, len(names))
        shards.append(pixels)
        sizes.append(np.array(record["sizes"], dtype=np.int64))
        digest.update(bytes.fromhex(record["sha256"]))
    lengths = [np.concatenate([[0], np.cumsum(s.prod(1) * 3)[:-1]]) for s in sizes]
    both = np.concatenate(sizes)
    return Store(shards, np.concatenate(lengths), both[:, 0], both[:, 1], digest.hexdigest())


def _open_shard(place: Path, count: int) -> tuple[np.ndarray, dict[str, Any]]:
    path = place.with_suffix(".npy")
    try:
        record = json.loads(place.with_suffix(".json").read_bytes())
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        length = sum(height * width * 3 for height, width in record["sizes"])
        bytes.fromhex(record["sha256"])
        if len(record["sizes"]) != count:
            raise ValueError(f"{len(record['sizes'])} images, not {count}")
        if pixels.shape != (length,) or pixels.dtype != np.uint8:
            raise ValueError(f"{pixels.dtype} {list(pixels.shape)}, not {length} bytes as recorded")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: damaged ({error}); delete it and {place.name}.json, and it is made again"
        ) from error
    return pixels, record


def _missing(cache: Wanted) -> list[tuple[Path, Sequence[str]]]:
    return [one for one in cache.shards() if not one[0].with_suffix(".json").exists()]


def is_complete(cache: Wanted) -> bool:
    """Whether nothing is left to decode."""
    return not _missing(cache)


def needed(caches: Sequence[Wanted]) -> int:
    """About how many bytes the images take that are not decoded yet, if all of them are 4:3."""
    return sum(len(names) * cache.side**2 * 4 for cache in caches for _, names in _missing(cache))


def _decode(shards: list[tuple[Wanted, Path, Sequence[str]]], check: Callable[[], None]) -> None:
    if not shards:
        return
    images = sum(len(names) for _, _, names in shards)
    workers = min(_processes(), len(shards))
    _log.warning(
        "decoding %s images into %s, once, in %d process%s",
        *(f"{images:,}", shards[0][0].folder.parent, workers, "es" * (workers != 1)),
    )
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, start_worker, (os.getpid(),))
    try:
        jobs = [
            pool.submit(write_shard, cache.root, names, cache.side, place)
            for cache, place, names in shards
        ]
        said = time.monotonic()
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            check()
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                _log.warning("decoded %.0f %%", 100 * done / len(jobs))
    except BrokenProcessPool as error:
        raise DataError(f"a process that decoded images ended abruptly ({error})") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_space(folder: Path, size: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"data.cache: {folder} needs about {size / 1e9:.1f} GB for decoded images, but "
            f"{free / 1e9:.1f} GB are free; name a folder on another disk"
        )


def _processes() -> int:
    """The CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


@contextmanager
def _lock(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process makes this cache."""
    path = folder / ".lock"
    descriptor = lock.claim(path)
    if descriptor is None:
        _log.warning("waiting for another process that decodes into %s", folder)
    while descriptor is None:
        check()
        time.sleep(_WAIT)
        descriptor = lock.claim(path)
    try:
        yield
    finally:
        os.close(descriptor)
