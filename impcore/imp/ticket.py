"""A ticket: a mask and the weights to rewind to, in one safetensors file or a folder of them.

Invariant: a `Ticket` that exists is consistent (every mask has a tensor of its name and as many
bits, its padding is 0, the counts agree), and loading one that is damaged or wrong in any way
raises before anything is changed. No pickle; nothing in a ticket is used as a path.
"""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from impcore import atomic
from impcore.errors import TicketError
from impcore.imp import sealed, ticket_folder
from impcore.scope import address, find_scope
from impcore.unwrap import unwrap

if TYPE_CHECKING:
    from impcore.masks import Masks

_KIND = "impcore-ticket-1"
_MASK, _REWIND = "mask/", "rewind/"


@dataclass(frozen=True)
class Ticket:
    """The subnetwork that one round trained, as it was before that training.

    Attributes:
        masks: parameter name -> uint8 [ceil(numel / 8)]: the mask's bits in logical (contiguous)
            order, least significant first, 1 = alive, padding 0; as `Masks.state_dict()` has it.
        rewind: state-dict name -> tensor: the whole state to start from, weights unmasked, buffers
            included. They are not copied: what `model.state_dict()` returns is trained along with
            the model, so give a copy of it.
        provenance: JSON values: where the ticket is from. `remaining` and `total`, if there, are
            checked against the masks.

    Raises:
        TicketError: a part is no mapping; what to rewind to is no tensor, or is sharded, sparse or
            without data; a mask without a tensor, of the wrong size, or with padding bits set;
            provenance that is not JSON; or counts that do not agree.
    """

    masks: Mapping[str, Tensor]
    rewind: Mapping[str, Tensor]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        for part in ("masks", "rewind", "provenance"):
            given = getattr(self, part)
            if not isinstance(given, Mapping):
                raise TicketError(f"{part} must be a mapping, not {type(given).__name__}")
        for name, tensor in self.rewind.items():
            if not isinstance(tensor, Tensor):
                raise TicketError(f"{name}: a ticket holds tensors, not a {type(tensor).__name__}")
            plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
            if not plain or tensor.is_meta:
                raise TicketError(
                    f"{name}: a ticket holds plain dense tensors with data, not a "
                    f"{type(tensor).__name__} of layout {tensor.layout} on {tensor.device}"
                )
        for name, packed in self.masks.items():
            _check_mask(name, packed, self.rewind)
        for key, value in self.provenance.items():
            _check_json(key, value)
        for key, count in (("remaining", self.remaining), ("total", self.total)):
            claimed = self.provenance.get(key, count)
            if claimed != count:
                raise TicketError(f"{key}: the provenance says {claimed!r}, the masks hold {count}")

    @property
    def remaining(self) -> int:
        """The number of alive weights."""
        return sum(_ones(packed) for packed in self.masks.values())

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(self.rewind[name].numel() for name in self.masks)

    def save(self, path: Path | str) -> None:
        """Write the ticket atomically; the same ticket gives the same bytes.

        Raises RunDirectoryError if `path` cannot be written, which then holds what it held before,
        or could not be read back (provenance of 64 MiB), and TypeError for a dtype that safetensors
        does not know.
        """
        atomic.write(Path(path), self.pack())

    def pack(self) -> sealed.Pieces:
        """What `save` writes; it looks into the memory of tensors that are on the CPU."""
        tensors = {_MASK + name: packed for name, packed in self.masks.items()}
        tensors |= {_REWIND + name: tensor for name, tensor in self.rewind.items()}
        return sealed.pack(_KIND, {"provenance": dict(self.provenance)}, tensors)

    def save_folder(self, folder: Path | str) -> None:
        """Write the ticket as a folder for the Hugging Face hub.

        Files: mask.safetensors, rewind.safetensors, config.toml, README.md. Raises TicketError if
        `folder` is a file or could not be read back, RunDirectoryError if it cannot be written, and
        TypeError as `save` does.
        """
        ticket_folder.save(self, Path(folder))

    @classmethod
    def load(cls, path: Path | str) -> Ticket:
        """Read a ticket, from a file or a folder of `save_folder`.

        Raises TicketError, naming the file, for anything but a whole one.
        """
        try:
            read = ticket_folder.load if Path(path).is_dir() else _read
            masks, rewind, provenance = read(Path(path))
            if not isinstance(provenance, dict):
                raise TicketError("it has no provenance")
            return cls(masks, rewind, provenance)
        except (sealed.SealError, TicketError) as error:
            raise TicketError(f"{path}: not a whole ticket: {error}") from error

    def apply(self, model: nn.Module) -> Masks:
        """Give `model` the rewind state under the mask; returns its new live Masks.

        Sees through DDP and torch.compile. Raises TicketError if the model's state dict has other
        names, shapes or dtypes, if a masked name is not a prunable parameter of it, or if the
        ticket holds a tensor of the model itself; the model and its masks are then unchanged.
        """
        from impcore.imp.rewinding import rewind_model  # with pydantic, which takes a while
        from impcore.masks import Masks

        model = unwrap(model)
        _check_fits(model, self.rewind)
        include = [glob.escape(name) for name in self.masks]
        try:
            found = find_scope(model, tuple(include), None).parameters
        except (ValueError, TypeError, NotImplementedError) as error:
            raise TicketError(f"the model cannot take the ticket's masks: {error}") from error
        differ = sorted(set(found) ^ set(self.masks))
        if differ:
            raise TicketError(f"{differ[0]}: not a prunable parameter of the model")
        masks = Masks(model, include=include)
        masks.load_state_dict(self.masks)
        rewind_model(model, masks, self.rewind)
        return masks


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    content, tensors = sealed.load(_KIND, path)
    masks, rewind = _named(tensors, _MASK), _named(tensors, _REWIND)
    if len(masks) + len(rewind) != len(tensors):
        raise TicketError("it holds tensors that are neither masks nor rewind weights")
    return masks, rewind, content.get("provenance")


def _check_mask(name: str, packed: Tensor, rewind: Mapping[str, Tensor]) -> None:
    if name not in rewind:
        raise TicketError(f"{name}: has a mask but no rewind weights")
    numel = rewind[name].numel()
    wanted = (math.ceil(numel / 8),)
    if packed.dtype != torch.uint8 or tuple(packed.shape) != wanted:
        raise TicketError(
            f"{name}: its mask is {packed.dtype} {tuple(packed.shape)}; {numel} weights need "
            f"torch.uint8 {wanted}"
        )
    if numel % 8 and int(packed[-1]) >> (numel % 8):
        raise TicketError(f"{name}: its mask has bits set beyond its {numel} weights")


def _check_json(key: object, value: object) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TicketError(f"{key}: provenance must be JSON values: {error}") from error
    if not _has_string_keys({key: value}):
        raise TicketError(f"{key}: provenance must have strings as keys, at every depth")


def _has_string_keys(value: object) -> bool:
    """Whether all objects in a JSON value have them; json makes strings of other keys."""
    if isinstance(value, dict):
        strings = all(isinstance(key, str) for key in value)
        return strings and all(map(_has_string_keys, value.values()))
    return not isinstance(value, list | tuple) or all(map(_has_string_keys, value))


def _ones(packed: Tensor) -> int:
    return int.from_bytes(packed.cpu().numpy().tobytes(), "little").bit_count()


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = len(prefix)
    return {name[start:]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_fits(model: nn.Module, rewind: Mapping[str, Tensor]) -> None:
    state = model.state_dict()
    differ = sorted(set(state) ^ set(rewind))
    if differ:
        side = "the ticket lacks it" if differ[0] in state else "the model lacks it"
        raise TicketError(f"{differ[0]}: {side} ({len(differ)} names differ in all)")
    for name, tensor in state.items():
        found = rewind[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise TicketError(
                f"{name}: the ticket has {found.dtype} {tuple(found.shape)}, the model "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )
        if address(found) == address(tensor):
            raise TicketError(
                f"{name}: the ticket holds the model's own tensor, and no earlier state of it; "
                "make it of a copy: copy.deepcopy(model.state_dict())"
            )
