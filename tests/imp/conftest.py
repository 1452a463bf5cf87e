from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from impcore.config import Config

# The first example pays for PyTorch's own start, and the machine is shared.
settings.register_profile("imp", deadline=None)
settings.load_profile("imp")

MakeConfig = Callable[..., Config]


def micro(out: Path, **overrides: Any) -> Config:
    """ResNet-14 on digits: 2 prunes, 3 epochs of 3 steps; overrides as table__key=value."""
    tables: dict[str, dict[str, Any]] = {
        "run": {"name": "micro", "out": str(out), "seed": 3, "threads": 2, "device": "cpu"},
        "model": {"arch": "resnet14"},
        "data": {"name": "digits"},
        "train": {
            "length": "3ep",
            "batch_size": 512,
            "lr": 0.05,
            "milestones": ["2ep"],
            "warmup": "2it",
        },
        "prune": {"rounds": 2, "rate": 0.3},
        "rewind": {"to": "2it"},
        "analysis": {},
    }
    for name, value in overrides.items():
        table, key = name.split("__")
        tables[table][key] = value
    return Config.from_dict(tables)


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    def make(**overrides: Any) -> Config:
        return micro(tmp_path / "run", **overrides)

    return make
