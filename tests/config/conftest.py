from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from impcore.errors import ConfigError

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


@pytest.fixture
def refuse(recipe: Callable[..., dict[str, dict[str, object]]]) -> Callable[[str, object], None]:
    """Check that a recipe with `value` under "table.key" is refused, in one line that says so."""
    from impcore.config import Config

    def check(key: str, value: object) -> None:
        table, name = key.split(".")
        with pytest.raises(ConfigError) as caught:
            Config.from_dict(recipe(**{table: {name: value}}))
        lines = str(caught.value).splitlines()
        assert [line.startswith(f"{key} = ") for line in lines] == [True]
        assert len(lines[0]) < 400
        assert ": should " in lines[0]

    return check
