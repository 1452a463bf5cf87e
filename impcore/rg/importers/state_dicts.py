"""State dicts of any training loop: pruned by torch.nn.utils.prune, or with zeros as the mask.

Invariant: files are taken in natural order of their names. Where zeros are the mask, the prunable
tensors are the same in every state: each "weight" of two dimensions or more (those of Linear and
Conv layers; of embeddings too), or what include and exclude say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from impcore.errors import CheckpointError
from impcore.rg.importers import prune_keys
from impcore.rg.importers.files import checkpoint_files
from impcore.rg.importers.measure import Load, Masked, State
from impcore.tensor_files import Tensors


def pruned_states(directory: Path, pattern: str | None) -> Iterator[Load]:
    """State dicts with X_orig and X_mask."""
    paths = checkpoint_files(directory, pattern)
    names = prune_keys.masked_names(Tensors(paths[-1]))
    if not names:
        raise CheckpointError(f"{paths[-1]}: holds no *_mask; are zeros the mask (state_dicts)?")
    for path in paths:
        yield partial(_pruned, path, names)


def _pruned(path: Path, names: tuple[str, ...]) -> State:
    tensors = Tensors(path)
    return State(str(path), names, lambda name: prune_keys.read(tensors, name, str(path)))


def zeroed_states(
    directory: Path, pattern: str | None, include: Sequence[str], exclude: Sequence[str]
) -> Iterator[Load]:
    """State dicts in which a weight that is exactly 0 is pruned."""
    paths = checkpoint_files(directory, pattern)
    names = _prunable(Tensors(paths[0]), include, exclude)
    for path in paths:
        yield partial(_zeroed, path, names)


def _zeroed(path: Path, names: tuple[str, ...]) -> State:
    tensors = Tensors(path)

    def read(name: str) -> Masked:
        if name not in tensors:
            raise CheckpointError(f"{path}: lacks {name}")
        weight = tensors[name]
        return Masked(weight, weight != 0)

    return State(str(path), names, read)


def _prunable(tensors: Tensors, include: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """By pattern, or the weights of two dimensions or more."""
    if include:
        chosen = [name for name in tensors if any(fnmatchcase(name, glob) for glob in include)]
    else:
        # By its last part: attention's in_proj_weight is of no Linear layer, and is not pruned.
        chosen = [
            name
            for name in tensors
            if name.rpartition(".")[2] == "weight" and tensors[name].dim() >= 2
        ]
    kept = tuple(name for name in chosen if not any(fnmatchcase(name, glob) for glob in exclude))
    if not kept:
        raise CheckpointError(f"{tensors.path}: no prunable tensor among {list(tensors)[:8]}")
    return kept
