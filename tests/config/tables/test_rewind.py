from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("rewind.to", "0it"), ("rewind.to", "start"), ("rewind.kind", "weight"),
    ("rewind.length", "init"), ("rewind.head", "drop"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
