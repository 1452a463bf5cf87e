"""Which block each tensor belongs to: by the user's patterns, or by the names of known models.

Invariant: every tensor has one column; what no block takes is "rest", the last column. A pattern
that takes nothing, or a tensor taken twice, is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from impcore.rg.vectors import REST

GRANULARITIES = ("stage", "block", "tensor")
Patterns = Mapping[str, Sequence[str]]

_RESNET = re.compile(r"(?:^|\.)layer(\d+)\.(\d+)\.")  # torchvision and CV_LTH
_OPEN_LTH = re.compile(r"(?:^|\.)blocks\.(\d+)\.")  # the CIFAR ResNets of open_lth, three stages
_ENCODER = re.compile(r"(?:^|\.)encoder\.layer\.(\d+)\.")  # BERT


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and the column of every tensor."""

    names: tuple[str, ...]
    column: Mapping[str, int]


def by_pattern(tensors: Sequence[str], patterns: Patterns) -> Columns:
    """Blocks given as name → fnmatch patterns of tensor names.

    Raises:
        ValueError: a pattern that matches nothing, or a tensor in two blocks.
    """
    taken: dict[str, str] = {}
    for block, globs in patterns.items():
        if block == REST:
            raise ValueError(f"block: {REST!r} is the name of what no block takes")
        for glob in globs:
            found = [name for name in tensors if fnmatchcase(name, glob)]
            if not found:
                raise ValueError(f"block {block!r}: {glob!r} matches none of {list(tensors)[:6]} …")
            for name in found:
                if taken.setdefault(name, block) != block:
                    raise ValueError(f"{name!r} is in two blocks, {taken[name]!r} and {block!r}")
    return _columns(tensors, taken)


def by_name(tensors: Sequence[str], granularity: str) -> Columns:
    """Blocks read off the tensors' names.

    "stage": stage1, stage2, … of a ResNet, layer.0, layer.1, … of a BERT. "block": layer1.0,
    layer1.1, … of a ResNet. "tensor", or a model that is not known: every tensor its own block.
    Blocks of a known model are in the order of their numbers: a file may name its tensors by
    alphabet, "layer.10" before "layer.2".
    """
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be one of {', '.join(GRANULARITIES)}: {granularity!r}")
    if granularity != "tensor":
        taken = _resnet(tensors, granularity) or _open_lth(tensors, granularity) or _bert(tensors)
        if taken:
            return _columns(tensors, taken, key=_numbers)
    return _columns(tensors, {name: name.removesuffix(".weight") for name in tensors})


def _resnet(tensors: Sequence[str], granularity: str) -> dict[str, str]:
    found = {name: match for name in tensors if (match := _RESNET.search(name))}
    return {
        name: _place(int(match[1]), int(match[2]), granularity) for name, match in found.items()
    }


def _open_lth(tensors: Sequence[str], granularity: str) -> dict[str, str]:
    found = {name: int(match[1]) for name in tensors if (match := _OPEN_LTH.search(name))}
    count = max(found.values(), default=-1) + 1
    if not count or count % 3:
        return {}
    depth = count // 3
    return {
        name: _place(1 + index // depth, index % depth, granularity)
        for name, index in found.items()
    }


def _bert(tensors: Sequence[str]) -> dict[str, str]:
    found = {name: match for name in tensors if (match := _ENCODER.search(name))}
    return {name: f"layer.{match[1]}" for name, match in found.items()}


def _place(stage: int, block: int, granularity: str) -> str:
    return f"stage{stage}" if granularity == "stage" else f"layer{stage}.{block}"


def _numbers(block: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", block))


def _columns(
    tensors: Sequence[str],
    taken: Mapping[str, str],
    key: Callable[[str], tuple[int, ...]] = lambda _: (),
) -> Columns:
    """Blocks in the order of `key`, and of the tensors where that is the same."""
    found = dict.fromkeys(taken[name] for name in tensors if name in taken)
    names = sorted(found, key=key)
    if len(taken) < len(tensors):
        names.append(REST)
    column = {name: names.index(taken.get(name, REST)) for name in tensors}
    return Columns(tuple(names), column)
