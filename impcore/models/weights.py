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

_FILES = ("model.safetensors", "pytorch_model.bin")  # a Hugging Face directory's


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
    state = _distinct(model)
    fits = []
    for name, tensor in state.items():
        found = given.get(name)
        if found is not None and found.shape == tensor.shape:
            _check_values(name, found, tensor, path)
            fits.append(name)
        elif not names.may_be_left(name):
            _refuse(name, found, tensor, path)
    with torch.no_grad():
        for name in fits:
            state[name].copy_(given[name])
    left = (name for name in state if name not in set(fits) and not is_counter(name))
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
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a directory without {' or '.join(_FILES)}")


def _distinct(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors; one that has several names, as a tied decoder has, under its first."""
    seen: set[int] = set()
    found = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            found[name] = tensor
            seen.add(tensor.data_ptr())
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


def _check_values(name: str, found: Tensor, tensor: Tensor, path: Path) -> None:
    if found.is_floating_point() != tensor.is_floating_point():
        raise CheckpointError(f"{path}: {name} is {found.dtype}, should be {tensor.dtype}")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise CheckpointError(f"{path}: {name} holds NaN or infinity")
