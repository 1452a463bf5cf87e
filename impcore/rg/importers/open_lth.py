"""Runs of facebookresearch/open_lth and of its fork VITA-Group/ElasticLTH.

    lottery_HASH/replicate_R/level_L/main/mask.pth            int32 masks by parameter name
                                         /model_epE_itI.pth   state dicts; the last step is trained
                                         /logger              test_accuracy,ITERATION,VALUE lines

Invariant: a level counts if it holds the model of level 0's last step; an unfinished last level is
left out, an unfinished one between others is an error. The saved weights are selected by the mask:
open_lth masks in the forward pass, so what the last optimiser step wrote under the mask is in the
file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from impcore.errors import CheckpointError
from impcore.rg.importers.files import natural
from impcore.rg.importers.measure import Load, Masked, State
from impcore.tensor_files import load_mapping, tensors_of

_MODEL = re.compile(r"model_ep(\d+)_it(\d+)\.pth")


def replicates(path: Path) -> list[Path]:
    """The replicate directories of a lottery directory, or `path` itself if it is one."""
    if any(path.glob("level_*")):
        return [path]
    found = sorted(path.glob("replicate_*"), key=natural)
    if not found:
        raise CheckpointError(f"{path}: holds neither replicate_1, … nor level_0, …")
    return found


def states(replicate: Path, theta: str) -> Iterator[Load]:
    """Every finished level of a replicate, with the weights at the end or the start of training."""
    levels = _levels(replicate)
    end = _steps(levels[0])[-1]
    finished = [end in _steps(level) for level in levels]
    if False in finished[:-1] or not finished[0]:
        missing = levels[finished.index(False)]
        raise CheckpointError(f"{missing}: has no {_file(end)}, the last step of level_0")
    for level in (level for level, done in zip(levels, finished, strict=True) if done):
        yield partial(_state, level, end if theta == "trained" else _steps(level)[0], end)


def _levels(replicate: Path) -> list[Path]:
    found = sorted(replicate.glob("level_*"), key=natural)
    levels = [level / "main" for level in found if re.fullmatch(r"level_\d+", level.name)]
    for number, level in enumerate(levels):
        if level.parent.name != f"level_{number}":
            raise CheckpointError(f"{replicate}: has {level.parent.name} but not level_{number}")
    if not levels or not _steps(levels[0]):
        raise CheckpointError(f"{replicate}: has no trained level_0/main/model_ep*_it*.pth")
    return levels


def _steps(level: Path) -> list[tuple[int, int]]:
    matches = (_MODEL.fullmatch(path.name) for path in level.glob("model_ep*_it*.pth"))
    return sorted((int(match[1]), int(match[2])) for match in matches if match)


def _file(step: tuple[int, int]) -> str:
    return f"model_ep{step[0]}_it{step[1]}.pth"


def _state(level: Path, step: tuple[int, int], end: tuple[int, int]) -> State:
    mask = tensors_of(level / "mask.pth", load_mapping(level / "mask.pth"))
    path = level / _file(step)
    weights = tensors_of(path, load_mapping(path))
    missing = [name for name in mask if name not in weights]
    if missing:
        raise CheckpointError(f"{path}: lacks {missing[:4]}, which mask.pth masks")

    def read(name: str) -> Masked:
        return Masked(weights[name], mask[name])

    accuracy, loss = (_last(level / "logger", f"test_{what}") for what in ("accuracy", "loss"))
    extra = {"step": f"{end[0]}ep{end[1]}it"}
    return State(str(path), tuple(mask), read, accuracy, loss, extra)


def _last(logger: Path, metric: str) -> float:
    """The metric at the largest iteration; NaN where nothing was logged."""
    if not logger.exists():
        return math.nan
    found: dict[int, float] = {}
    for number, line in enumerate(logger.read_text("utf-8", "replace").splitlines(), start=1):
        try:
            name, iteration, value = line.split(",")
            if name == metric:
                found[int(iteration)] = float(value)
        except ValueError as error:
            raise CheckpointError(
                f"{logger}:{number}: not NAME,ITERATION,VALUE: {line!r}"
            ) from error
    return found[max(found)] if found else math.nan
