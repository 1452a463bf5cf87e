from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("data.name", "../cifar10"), ("data.augment", True), ("data.root", 1),
    ("data.validation", -1), ("data.validation", 5.0), ("data.drop_last", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
