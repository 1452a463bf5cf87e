"""Runs of VITA-Group/BERT-Tickets: OUTPUT/checkpoint-STEP/mask.pt, and OUTPUT/result.pt.

The mask.pt beside a checkpoint holds the *next* round's masks, so state 0 is dense and state n has
the n-th mask. model.pt beside it is a pickled module and is refused; without weights there is a P
flow and no M. result.pt, if there, lists the evaluation of every round.

Invariant: the last mask of a whole run has nothing left (the tenth prune takes 1/(10-9) of what
remains); it is no state and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impcore.errors import CheckpointError
from impcore.rg.importers.files import as_number, natural
from impcore.rg.importers.measure import Load, Masked, State
from impcore.rg.importers.prune_keys import MASK
from impcore.tensor_files import RECIPE, load, load_mapping, tensors_of

if TYPE_CHECKING:
    import torch

Metrics = dict[str, float]


def states(path: Path, theta: str) -> Iterator[Load]:
    """The dense state, then one a mask."""
    masks = _mask_files(path)
    results = _results(path / "result.pt")
    yield partial(_dense, masks[0], results)
    for number, file in enumerate(masks, start=1):
        if not any(bool(mask.any()) for mask in _masks(file).values()):
            return
        yield partial(_pruned, file, results, number)


def _dense(first: Path, results: list[Metrics]) -> State:
    """State 0: all alive; which tensors, the first mask says."""
    import torch

    masks = _masks(first)

    def read(name: str) -> Masked:
        return Masked(None, torch.ones_like(masks[name], dtype=torch.bool))

    return _state(f"the dense state of {first.parent.parent}", masks, read, results, 0)


def _pruned(path: Path, results: list[Metrics], number: int) -> State:
    masks = _masks(path)
    return _state(str(path), masks, lambda name: Masked(None, masks[name]), results, number)


def _mask_files(path: Path) -> list[Path]:
    if path.is_file() or not path.is_dir():
        raise CheckpointError(f"{path}: not a directory of checkpoint-*/mask.pt")
    masks = sorted(path.glob("checkpoint-*/mask.pt"), key=natural)
    if masks:
        return masks
    models = sorted(path.glob("**/model.pt"), key=natural)
    if models:
        recipe = RECIPE.format(name="model.pt", stem="model")
        raise CheckpointError(
            f"{models[0]}: refused (KIND torch_prune imports what you convert): {recipe}"
        )
    raise CheckpointError(f"{path}: holds no checkpoint-*/mask.pt")


def _masks(path: Path) -> dict[str, torch.Tensor]:
    tensors = tensors_of(path, load_mapping(path))
    wrong = [name for name in tensors if not name.endswith(MASK)]
    if wrong or not tensors:
        raise CheckpointError(f"{path}: must hold weight_mask tensors alone, not {wrong[:4]}")
    return {name.removesuffix(MASK): mask for name, mask in tensors.items()}


def _state(
    source: str,
    masks: Mapping[str, torch.Tensor],
    read: Callable[[str], Masked],
    results: list[Metrics],
    number: int,
) -> State:
    metrics = results[number] if number < len(results) else {}
    # GLUE's accuracy is a fraction, SQuAD's exact match a percentage; the others keep their names.
    accuracy = metrics.get("acc", metrics.get("exact", math.nan) / 100)
    extra = {"metrics": metrics} if metrics else {}
    return State(source, tuple(masks), read, accuracy, math.nan, extra)


def _results(path: Path) -> list[Metrics]:
    if not path.exists():
        return []
    with _numpy_numbers():
        content = load(path)
    if not isinstance(content, list) or not all(isinstance(one, Mapping) for one in content):
        raise CheckpointError(f"{path}: must list the evaluations")
    return [
        {str(key): as_number(f"{path}: entry {n}: {key}", value) for key, value in one.items()}
        for n, one in enumerate(content)
    ]


def _numpy_numbers() -> AbstractContextManager[object]:
    """Let weights_only build NumPy's numbers: the metrics are averages that NumPy took."""
    import codecs

    import numpy as np
    import torch

    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8")]
    allowed: list[Any] = [scalar, np.dtype, codecs.encode, *kinds]
    allowed += [(scalar, "numpy.core.multiarray.scalar")]  # where NumPy 1 found it
    return torch.serialization.safe_globals(allowed)
