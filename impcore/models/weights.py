"""Give a freshly built residual network the weights of a checkpoint, as far as they fit.

Invariant: every tensor of the network is either taken over whole or left at its initialisation,
and what was left is said. Only the first convolution and the head may be left, because they depend
on the images and on the classes; a file that lacks anything else, or holds anything that the
network has no place for, is another network's and refused before a weight has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from impcore.errors import CheckpointError
from impcore.tensor_files import Tensors

_STEM = "conv1.weight"
_FILES = ("model.safetensors", "pytorch_model.bin")  # a Hugging Face directory's

_HF_STEM = re.compile(r"(?:resnet\.)?embedder\.embedder\.(convolution|normalization)\.(\w+)")
_HF_BRANCH = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)"
    r"\.(convolution|normalization)\.(\w+)"
)
_HF_SHORTCUT = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut"
    r"\.(convolution|normalization)\.(\w+)"
)
_HF_HEAD = re.compile(r"classifier\.1\.(\w+)")


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
        model: a ResNet of `impcore.models.build`.
        path: a safetensors file or one that torch.save wrote (weights only, never code), with the
            names of torchvision or of Hugging Face's ResNet; or a directory that holds
            model.safetensors or pytorch_model.bin.

    Raises:
        CheckpointError: unreadable, or another network's: the message names the file and a tensor
            that is unknown, missing, of another shape, or not finite.
    """
    path = _file(Path(path))
    given = torchvision_names(Tensors(path), path)
    state = model.state_dict()
    _refuse_unknown(given, state, path)
    fits = []
    for name, tensor in state.items():
        found = given.get(name)
        if found is not None and found.shape == tensor.shape:
            _check_values(name, found, tensor, path)
            fits.append(name)
        elif not _may_be_left(name):
            _refuse(name, found, tensor, path)
    with torch.no_grad():
        for name in fits:
            state[name].copy_(given[name])
    left = (name for name in state if name not in set(fits) and not _is_counter(name))
    return Taken(str(path), tuple(fits), tuple(left))


def torchvision_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors under torchvision's names, from those or from Hugging Face's ResNet's.

    Raises:
        CheckpointError: two tensors have the same name afterwards.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = _torchvision_name(name)
        if new in renamed:
            raise CheckpointError(f"{path}: holds {new} twice, under two conventions of names")
        renamed[new] = tensor
    return renamed


def _torchvision_name(name: str) -> str:
    if match := _HF_STEM.fullmatch(name):
        kind, what = match.groups()
        return f"{_kind(kind)}1.{what}"
    if match := _HF_BRANCH.fullmatch(name):
        stage, block, layer, kind, what = match.groups()
        return f"layer{int(stage) + 1}.{block}.{_kind(kind)}{int(layer) + 1}.{what}"
    if match := _HF_SHORTCUT.fullmatch(name):
        stage, block, kind, what = match.groups()
        place = 0 if kind == "convolution" else 1
        return f"layer{int(stage) + 1}.{block}.downsample.{place}.{what}"
    if match := _HF_HEAD.fullmatch(name):
        return f"fc.{match[1]}"
    return name


def _kind(kind: str) -> str:
    return "conv" if kind == "convolution" else "bn"


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a directory without {' or '.join(_FILES)}")


def _is_counter(name: str) -> bool:
    """Whether a tensor counts batches: older files lack it, and nothing here reads it."""
    return name.endswith("num_batches_tracked")


def _may_be_left(name: str) -> bool:
    return name == _STEM or name.startswith("fc.") or _is_counter(name)


def _refuse_unknown(given: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    unknown = [name for name in given if name not in state]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise CheckpointError(
            f"{path}: holds {', '.join(unknown[:3])}{more}, which this network lacks; should hold "
            "the state dict of the same ResNet under torchvision's or Hugging Face's names"
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
