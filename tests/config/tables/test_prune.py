from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("prune.rounds", -1), ("prune.rounds", 1001), ("prune.rounds", True), ("prune.rounds", 3.0),
    ("prune.rate", 1), ("prune.rate", 1.0), ("prune.rate", -0.2), ("prune.rate", True),
    ("prune.rate", "0.2"), ("prune.rate", float("nan")), ("prune.rate", [0.2]),
    ("prune.include", []), ("prune.include", "layer1.*"), ("prune.scope", "local"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
