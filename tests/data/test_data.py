import subprocess
import sys

import pytest

from impcore import data
from impcore.errors import DataError


def test_every_name_reaches_its_loader(
    tmp_path, write_cifar10, write_cifar100, write_svhn, write_fashion_mnist
):
    for write in (write_cifar10, write_cifar100, write_svhn, write_fashion_mnist):
        write(tmp_path)
    classes = {}
    for name in data.DATASETS.keys() - data.FOLDERS.keys():
        dataset = data.load(name, root=tmp_path)
        assert dataset.name == name
        classes[name] = dataset.num_classes
    assert classes == {
        "digits": 10,
        "digits_parity": 2,
        "digits_rotation": 4,
        "digits_noisy": 10,
        "cifar10": 10,
        "cifar100": 100,
        "svhn": 10,
        "fashion_mnist": 10,
    }


@pytest.mark.parametrize(("name", "near"), [("cifar", "cifar10"), ("digit", "digits")])
def test_unknown_name_lists_the_valid_ones_and_the_nearest(name, near):
    with pytest.raises(
        DataError, match=f"'{name}'.*nearest: '{near}'.*digits, .*cifar10, cifar100"
    ):
        data.load(name)


def test_names_are_known_without_importing_torch():
    code = "import sys, impcore.data as d; print(len(d.DATASETS), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(len(data.DATASETS)), "False"]
