import gzip
import struct

import numpy as np
import pytest
from idx_bytes import idx_bytes

from impcore.data import Dataset, Split


class Python2Pickle:
    """Writes the opcodes that Python 2's cPickle wrote for the official CIFAR files.

    Text is a byte string there (opcodes U and T), which no pickler of Python 3 can write.
    """

    def __init__(self, numpy_module="numpy.core.multiarray", dtype=b"u1", fortran=False):
        self.module, self.dtype, self.fortran = numpy_module.encode(), dtype, fortran

    def dumps(self, value):
        return b"\x80\x02" + self._value(value) + b"."

    def _value(self, value):
        if isinstance(value, bytes):
            if len(value) < 256:
                return b"U" + bytes([len(value)]) + value
            return b"T" + struct.pack("<i", len(value)) + value
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if value is None:
            return b"N"
        if isinstance(value, (list, tuple)):
            close = b"l" if isinstance(value, list) else b"t"
            return b"(" + b"".join(map(self._value, value)) + close
        if isinstance(value, dict):
            items = b"".join(self._value(k) + self._value(v) for k, v in value.items())
            return b"}(" + items + b"u"
        assert isinstance(value, np.ndarray)
        return self._array(value)

    def _array(self, array):
        shell = b"c" + self.module + b"\n_reconstruct\n"
        shell += b"(cnumpy\nndarray\n" + self._value((0,)) + self._value(b"b") + b"tR"
        dtype = b"cnumpy\ndtype\n" + self._value((self.dtype, 0, 1)) + b"R"
        dtype += self._value((3, b"|", None, None, None, -1, -1, 0)) + b"b"
        raw = self._value(array.tobytes("F" if self.fortran else "C"))
        state = b"(" + self._value(1) + self._value(array.shape) + dtype
        return shell + state + self._value(self.fortran) + raw + b"tb"


@pytest.fixture(scope="session")
def python2():
    return Python2Pickle


def cifar_arrays(files, rows, classes, seed=0):
    """Random pixels and labels of `files` batches: name → (uint8 [rows, 3072], list of ints)."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.integers(0, 256, (rows, 3072), dtype=np.uint8),
            rng.integers(0, classes, rows).tolist(),
        )
        for name in files
    }


@pytest.fixture
def write_cifar10(python2):
    """Write a tiny cifar-10-batches-py under `root` as the official one is; return its arrays."""

    def write(root, rows=7):
        files = cifar_arrays([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], rows, 10)
        folder = root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name, (pixels, labels) in files.items():
            content = {
                b"batch_label": b"training batch 1 of 5",
                b"labels": labels,
                b"data": pixels,
                b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * rows,
            }
            (folder / name).write_bytes(python2().dumps(content))
        return files

    return write


@pytest.fixture
def write_cifar100(python2):
    """Write a tiny cifar-100-python under `root` as the official one is; return its arrays."""

    def write(root, rows=7):
        files = cifar_arrays(["train", "test"], rows, 100)
        folder = root / "cifar-100-python"
        folder.mkdir(parents=True)
        for name, (pixels, labels) in files.items():
            content = {
                b"filenames": [b"bos_taurus_s_000507.png"] * rows,
                b"batch_label": b"training batch 1 of 1",
                b"fine_labels": labels,
                b"coarse_labels": [11] * rows,
                b"data": pixels,
            }
            (folder / name).write_bytes(python2().dumps(content))
        return files

    return write


@pytest.fixture
def write_svhn():
    """Write a tiny svhn under `root` as MATLAB 5 files; return its arrays by file."""

    def write(root, rows=7):
        from scipy.io import savemat

        rng = np.random.default_rng(0)
        folder = root / "svhn"
        folder.mkdir(parents=True)
        files = {}
        for name in ("train_32x32.mat", "test_32x32.mat"):
            pixels = rng.integers(0, 256, (32, 32, 3, rows), dtype=np.uint8)
            labels = np.resize(np.array([10, 1, 9], np.uint8), (rows, 1))
            savemat(folder / name, {"X": pixels, "y": labels}, do_compression=True)
            files[name] = pixels, labels
        return files

    return write


@pytest.fixture
def write_fashion_mnist():
    """Write a tiny FashionMNIST/raw under `root`; return its arrays by part."""

    def write(root, rows=7):
        rng = np.random.default_rng(0)
        folder = root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True)
        parts = {}
        for part in ("train", "t10k"):
            pixels = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
            labels = np.resize(np.array([0, 9, 4], np.uint8), rows)
            images, names = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
            (folder / images).write_bytes(gzip.compress(idx_bytes(pixels)))
            (folder / names).write_bytes(gzip.compress(idx_bytes(labels)))
            parts[part] = pixels, labels
        return parts

    return write


@pytest.fixture
def make_dataset():
    """Return a function: random images of (count, channels, height, width) as a Dataset."""
    import torch

    def make(count=23, channels=3, height=5, width=6, seed=0, **changes):
        generator = torch.Generator().manual_seed(seed)

        def split(n):
            shape = (n, channels, height, width)
            images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            return Split(images, torch.randint(0, 4, (n,), generator=generator))

        fields = {
            "name": "random",
            "train": split(count),
            "test": split(9),
            "num_classes": 4,
            "mean": tuple(0.3 + 0.1 * c for c in range(channels)),
            "std": tuple(0.2 + 0.1 * c for c in range(channels)),
            "crop_padding": 2,
        }
        return Dataset(**(fields | changes))

    return make
