from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("run.name", "../x"), ("run.name", ".."), ("run.name", ".hidden"), ("run.name", "a/b"),
    ("run.name", ""), ("run.name", "a\\b"), ("run.name", "x\n"), ("run.name", "n" * 101),
    ("run.out", ""), ("run.out", "a/../b"), ("run.out", "a\0b"), ("run.out", 3), ("run.seed", -1),
    ("run.seed", 2**32), ("run.seed", 1.0), ("run.seed", True), ("run.seed", 10**400),
    ("run.threads", 1025), ("run.device", "gpu"), ("run.device", "cuda:0"),
    ("run.experiment", "os.system"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
