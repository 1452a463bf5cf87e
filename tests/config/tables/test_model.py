from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("model.arch", "torchvision.models.resnet18"), ("model.arch", ["resnet20"]),
    ("model.stem", None), ("model.stem", "vgg"), ("model.path", ""),
    ("model.bn_gamma", "zeros"), ("model.bn_gamma", 1),
    ("model.hidden_size", 0), ("model.layers", 1.5), ("model.heads", True),
    ("model.intermediate_size", "4"), ("model.positions", -1), ("model.dropout", 1.0),
    ("model.initializer_range", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
