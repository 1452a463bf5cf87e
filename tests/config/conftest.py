from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

SMALL = {
    "model": {"arch": "resnet20"},
    "data": {"name": "digits"},
    "train": {"length": "10ep"},
    "prune": {"rounds": 3},
}


@pytest.fixture
def recipe() -> Callable[..., dict[str, dict[str, object]]]:
    """The smallest recipe with the given tables' keys put over it: recipe(train={"lr": 1})."""

    def make(**tables: dict[str, object]) -> dict[str, dict[str, object]]:
        document = copy.deepcopy(SMALL)
        for table, keys in tables.items():
            document.setdefault(table, {}).update(keys)
        return document

    return make
