"""Give a freshly built network the weights of a checkpoint, as far as they fit.

Invariant: every tensor of the network is either taken over whole or left at its initialisation,
and what was left is said. Its family says what may be left, such as the head, which depends on the
task (`impcore.models.names`); a file that lacks anything else, or holds anything that the network
has no place for, is another network's and refused before a weight has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from impcore.errors import CheckpointError
from impcore.models.names import Names, is_counter
from impcore.tensor_files import Tensors

FILES = ("model.safetensors", "pytorch_model.bin")
"""The weights of a Hugging Face directory: the first of these that is there."""


@runtime_checkable
class HasNames(Protocol):
    """A model class that says how files name its tensors."""

    def names_in_files(self) -> Names:
        """Return the conventions of its family."""
        ...


@dataclass(frozen=True)
class Taken:
    """What became of a network's tensors, by name, in the network's order.

    Attributes:
        path: the file that was read.
        taken: taken over from it.
        left: left at their initialisation: absent from the file, or of another shape there.
    """

    path: str
    taken: tuple[str, ...]
    left: tuple[str, ...]

    def describe(self) -> str:
        """In a line."""
        left = ", ".join(self.left) if self.left else "nothing"
        return f"{len(self.taken)} tensors from {self.path}; left random: {left}"


def take(model: nn.Module, path: Path | str) -> Taken:
    """Copy the weights in `path` into `model`, in place, whatever their floating type.

    Args:
        model: a network of `impcore.models.build` or `build_text`.
        path: a safetensors file or one that torch.save wrote (weights only, never code), with the
            network's names, torchvision's or Hugging Face's; or a directory that holds
            model.safetensors or pytorch_model.bin.

    Raises:
        CheckpointError: unreadable, or another network's: the message names the file and a tensor
            that is unknown, missing, of another shape, or not finite.
    """
    if not isinstance(model, HasNames):
        raise TypeError(f"model: {type(model).__name__} has no method names_in_files()")
    path, names = _file(Path(path)), model.names_in_files()
    given = _renamed(Tensors(path), names, path)
    _refuse_unknown(given, model.state_dict(), names, path)
    state, fits = model.state_dict(), {}
    distinct = _distinct(state)
    for name, aliases in distinct.items():
        held = [alias for alias in aliases if alias in given]
        found = given[held[0]] if held else None
        if found is not None and found.shape == state[name].shape:
            _check_values(name, found, state[name], path)
            _refuse_apart(given, held, path)
            fits[name] = found
        elif not names.may_be_left(name):
            _refuse(name, found, state[name], path)
    with torch.no_grad():
        for name, found in fits.items():
            state[name].copy_(found)
    left = (name for name in distinct if name not in fits and not is_counter(name))
    return Taken(str(path), tuple(fits), tuple(left))


def _renamed(tensors: Mapping[str, Tensor], names: Names, path: Path) -> dict[str, Tensor]:
    """The tensors under the network's names; CheckpointError if two have the same afterwards."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = names.rename(name)
        if new in renamed:
            raise CheckpointError(f"{path}: holds {new} twice, under two conventions of names")
        renamed[new] = tensor
    return renamed


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a directory without {' or '.join(FILES)}")


def _distinct(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The first name of every tensor -> all of its names: a tied decoder has two."""
    first: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    for name, tensor in state.items():
        one = first.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        found.setdefault(one, []).append(name)
    return found


def _refuse_unknown(
    given: Mapping[str, Tensor], known: Collection[str], names: Names, path: Path
) -> None:
    unknown = [name for name in given if name not in known and not names.may_be_unused(name)]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise CheckpointError(
            f"{path}: holds {', '.join(unknown[:3])}{more}, which this network lacks; should hold "
            f"{names.should_be}"
        )


def _refuse(name: str, found: Tensor | None, tensor: Tensor, path: Path) -> None:
    shape = list(tensor.shape)
    if found is None:
        raise CheckpointError(f"{path}: lacks {name}, which should be {shape}")
    raise CheckpointError(f"{path}: {name} is {list(found.shape)}, should be {shape}")


def _refuse_apart(given: Mapping[str, Tensor], held: list[str], path: Path) -> None:
    one = given[held[0]]
    for other in held[1:]:
        if given[other].dtype != one.dtype or not torch.equal(given[other], one):
            raise CheckpointError(
                f"{path}: {other} is not {held[0]}, to which it is tied here; should be equal, or "
                'config.json say "tie_word_embeddings": false'
            )


def _check_values(name: str, found: Tensor, tensor: Tensor, path: Path) -> None:
    if found.is_floating_point() != tensor.is_floating_point():
        raise CheckpointError(f"{path}: {name} is {found.dtype}, should be {tensor.dtype}")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise CheckpointError(f"{path}: {name} holds NaN or infinity")
