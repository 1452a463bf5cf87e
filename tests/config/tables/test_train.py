from __future__ import annotations

from collections.abc import Callable

import pytest

Refuse = Callable[[str, object], None]

REFUSED = [
    ("train.length", "5%"), ("train.length", 160), ("train.length", "init"),
    ("train.batch_size", 0), ("train.batch_size", 64.0), ("train.batch_size", "64"),
    ("train.lr", 0), ("train.lr", -0.1), ("train.lr", True), ("train.lr", float("inf")),
    ("train.lr", float("nan")), ("train.lr", float("1e999")), ("train.lr", 10**400),
    ("train.momentum", 1), ("train.momentum", -0.1), ("train.weight_decay", 1.0),
    ("train.nesterov", 1), ("train.nesterov", "true"), ("train.milestones", "80ep"),
    ("train.gamma", 0.0), ("train.gamma", 1.5), ("train.warmup", "0ep"), ("train.amp", "fp16"),
    ("train.checkpoint_every", "5%"), ("train.optimizer", "adam"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_bad_value_is_one_line_with_its_key(refuse: Refuse, key: str, value: object) -> None:
    refuse(key, value)
