"""Runs of VITA-Group/CV_LTH_Pre-training: a directory of {n}checkpoint.pth.tar.

Each is a dictionary: "state" n, "epoch", "state_dict" (weight_orig and weight_mask of every pruned
convolution; state 0 is not pruned and has plain weights), "init_weight" (what the run rewinds to),
and "result" with the accuracies of every epoch in percent: "ta" validation, "test_ta" test.

Invariant: weights and accuracy are those of the last epoch of the state, which is what was pruned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from impcore.errors import CheckpointError
from impcore.rg.importers import prune_keys
from impcore.rg.importers.files import last, natural
from impcore.rg.importers.measure import Load, Masked, State
from impcore.tensor_files import load_mapping, tensors_of

_NAME = re.compile(r"(\d+)checkpoint\.pth\.tar")


def states(directory: Path, theta: str) -> Iterator[Load]:
    """Every state 0, 1, … that the directory holds."""
    paths = sorted(
        (p for p in directory.glob("*checkpoint.pth.tar") if _NAME.match(p.name)), key=natural
    )
    if len(paths) < 2:
        raise CheckpointError(f"{directory}: needs 0checkpoint.pth.tar, 1checkpoint.pth.tar, …")
    for number, path in enumerate(paths):
        if path.name != f"{number}checkpoint.pth.tar":
            raise CheckpointError(f"{directory}: lacks {number}checkpoint.pth.tar")
    names = prune_keys.masked_names(_weights(paths[1], load_mapping(paths[1])))
    if not names:
        raise CheckpointError(f"{paths[1]}: holds no weight_mask, though state 1 is pruned")
    for number, path in enumerate(paths):
        yield partial(_state, path, number, names, theta)


def _state(path: Path, number: int, names: tuple[str, ...], theta: str) -> State:
    content = load_mapping(path)
    if content.get("state") != number:
        raise CheckpointError(f"{path}: says state {content.get('state')!r}, its name {number}")
    tensors = _weights(path, content)
    rewound = tensors_of(path, content.get("init_weight")) if theta == "rewound" else None

    def read(name: str) -> Masked:
        weight, mask = prune_keys.read(tensors, name, str(path))
        if rewound is None:
            return Masked(weight, mask)
        if name not in rewound:
            raise CheckpointError(f"{path}: init_weight lacks {name}")
        return Masked(rewound[name], mask)

    epoch = content.get("epoch")
    extra = {
        "epoch": epoch if isinstance(epoch, int) else None,
        "validation_accuracy": _last(path, content, "ta"),
    }
    return State(str(path), names, read, _last(path, content, "test_ta"), math.nan, extra)


def _weights(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    if "state_dict" not in content:
        raise CheckpointError(f"{path}: lacks state_dict; its keys are {list(content)[:8]}")
    return tensors_of(path, content["state_dict"])


def _last(path: Path, content: Mapping[str, Any], key: str) -> float:
    """The last epoch's accuracy as a fraction; NaN where none was recorded."""
    result = content.get("result")
    values = result.get(key) if isinstance(result, Mapping) else None
    percent = last(f"{path}: result[{key!r}]", values)
    if percent is None:
        return math.nan
    if not 0 <= percent <= 100:
        raise CheckpointError(f"{path}: result[{key!r}] must be percentages, not {percent}")
    return percent / 100
