"""The masks of a model, seen as a mapping from parameter names.

Invariants: a weight whose mask is 0 holds +0 after every assignment, prune and optimiser step; a
model has one live `Masks`; the model's state-dict keys never change.
"""

from __future__ import annotations

import hashlib
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from impcore import hooks, ops
from impcore import scope as scopes
from impcore.arena import Arena
from impcore.errors import ModelChangedError, NonFiniteError
from impcore.unwrap import unwrap

_ATTRIBUTE = "_impcore_masks"


def masks_of(model: nn.Module) -> Masks | None:
    """The live masks of a model, or None; sees through DDP and torch.compile wrappers."""
    return unwrap(model).__dict__.get(_ATTRIBUTE)


class Masks(Mapping[str, torch.Tensor]):
    """All-ones masks for a model, attached to it; they replace older ones.

    `masks[name]` is a bool tensor of the parameter's shape (a copy, True = alive);
    `masks[name] = bool_tensor` sets it and zeroes the weights. Names are those of
    `model.named_parameters()`; a tied parameter answers to each of its names and counts once.

    Args:
        model: any nn.Module; wrappers of DDP and torch.compile are looked through.
        include: fnmatch patterns on parameter names; only these, within the default scope (weights
            of Linear and convolution layers that require gradients).
        exclude: patterns to leave out.

    Attributes:
        frozen: names left out because they do not require gradients (also reported as a warning).

    Raises:
        ValueError: nothing to prune, or a pattern that matches nothing.
        TypeError, NotImplementedError, LayoutError: a parameter that cannot be masked, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> None:
        model = unwrap(model)
        self.include = scopes.patterns_of(include, "include")
        self.exclude = scopes.patterns_of(exclude, "exclude")
        scope = scopes.find_scope(model, self.include, self.exclude)
        self.frozen = scope.frozen
        self._aliases = scope.aliases
        self._arena = Arena(scope.parameters)
        self._remaining: int | None = self.total
        self._pending: list[torch.Tensor] = []
        if self.frozen:
            warnings.warn(
                f"frozen parameters are left out of pruning: {', '.join(self.frozen)}", stacklevel=2
            )
        self._attach(model)

    def _attach(self, model: nn.Module) -> None:
        older = masks_of(model)
        if older is not None:
            older.release()
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self._index_parameters()
        object.__setattr__(model, _ATTRIBUTE, self)
        hooks.watch(self)

    def _index_parameters(self) -> None:
        self._index = {id(p): i for i, p in enumerate(self.parameters)}
        for first, parameter in self._aliases.values():
            self._index[id(parameter)] = self.names.index(first)

    def release(self) -> None:
        """Detaches the masks from the model: weights may grow back from the next step on."""
        model = self._model() if self._model is not None else None
        if model is not None and model.__dict__.get(_ATTRIBUTE) is self:
            object.__delattr__(model, _ATTRIBUTE)
        self._model = None
        hooks.unwatch(self)

    # A copied or unpickled model takes its masks along: both find the same copies in one memo.
    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        model = self._model() if self._model is not None else None
        return {**self.__dict__, "_model": model, "_index": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        model = state["_model"]
        self._model = None if model is None else weakref.ref(model)
        self._index_parameters()
        if model is not None:
            hooks.watch(self)

    @property
    def names(self) -> list[str]:
        """The masked parameters' names, in the order of `named_parameters()`."""
        return self._arena.names

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The masked parameters, in the order of `names`."""
        return self._arena.parameters

    def _position(self, name: str) -> int:
        first = self._aliases[name][0] if name in self._aliases else name
        try:
            return self.names.index(first)
        except ValueError:
            raise KeyError(f"{name!r} is not a masked parameter") from None

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._arena.read(self._position(name))

    def __setitem__(self, name: str, value: torch.Tensor) -> None:
        i = self._position(name)
        if not isinstance(value, torch.Tensor) or value.dtype != torch.bool:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"masks[{name!r}] takes a bool tensor, not {kind}")
        if tuple(value.shape) != self._arena.shapes[i]:
            raise ValueError(
                f"masks[{name!r}] has shape {self._arena.shapes[i]}, not {tuple(value.shape)}"
            )
        self.settle()
        self._arena.write(i, value)
        self._remaining = None
        self.apply()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        frozen = f", frozen: {', '.join(self.frozen)}" if self.frozen else ""
        return (
            f"Masks({len(self)} parameters, {self.remaining:,} of {self.total:,} weights remain, "
            f"density {self.density:.2%}{frozen})"
        )

    # Masks are compared by `hash`, not element by element as a mapping of tensors would be.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def total(self) -> int:
        """How many weights are masked, alive or not."""
        return self.plan.total

    @property
    def remaining(self) -> int:
        """How many weights are alive.

        Raises:
            NonFiniteError: an earlier prune_global(sync=False) met NaN or infinity and did nothing.
        """
        self.settle()
        if self._remaining is None:
            self._remaining = int(ops.bits.count(self.words))
        return self._remaining

    @property
    def density(self) -> float:
        """remaining / total (1.0 for masks over no weights)."""
        return self.remaining / self.total if self.total else 1.0

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over names, shapes and masks in logical order.

        Independent of memory format and device.
        """
        digest = hashlib.sha256()
        packed = self.state_dict()
        for name, shape in zip(self.names, self._arena.shapes, strict=True):
            digest.update(f"{name}\0{shape}\0".encode())
            digest.update(packed[name].numpy().tobytes())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Packed masks: name to uint8 [ceil(numel / 8)] on the CPU.

        Logical (contiguous) order, least significant bit first, padding bits 0.
        """
        self.settle()
        return {name: self._arena.packed(i) for i, name in enumerate(self.names)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over packed masks and zeroes the weights that they prune.

        Raises:
            ValueError: names, sizes, dtypes or padding bits do not fit; nothing has been changed.
        """
        self._arena.load_packed(state)
        self._remaining = None
        self._pending.clear()
        self.apply()

    def rewind(self, source: Mapping[str, torch.Tensor]) -> None:
        """theta <- m ? source : +0 for every masked parameter, bit for bit where alive.

        Args:
            source: at least the masked parameters by name (a whole model's state_dict will do), of
                their shapes and dtype, on any device and in any memory format.

        Raises:
            KeyError, ValueError, TypeError: a name is missing, a shape or dtype differs; nothing
                has been changed.
        """
        aligned = self._arena.aligned(source)
        ops.rewind(self.plan, self.weights, self.words, aligned)

    def apply(self) -> None:
        """Writes +0 to every pruned weight, in one fused pass."""
        ops.rewind(self.plan, self.weights, self.words)

    # From here on: what prune_global, Flow, the hook and the masked optimisers work with.

    @property
    def plan(self) -> ops.Plan:
        """The ops' chunk table, one block a parameter."""
        return self._arena.plan

    @property
    def weights(self) -> list[torch.Tensor]:
        """The masked parameters' data, in the order of `names`."""
        return [p.detach() for p in self.parameters]

    @property
    def words(self) -> torch.Tensor:
        """The packed masks: int32 [plan.total_words], in the parameters' layout and device."""
        return self._arena.words

    def spare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A scratch arena and the selection's workspace, allocated once and kept."""
        return self._arena.spare()

    def words_of(self, parameters: Sequence[torch.Tensor]) -> list[int]:
        """Each parameter's first word, or -1 where it is not masked (or the masks are released)."""
        if self._model is None:
            return [-1] * len(parameters)
        found = (self._index.get(id(p)) for p in parameters)
        return [-1 if i is None else self.plan.words[i] for i in found]

    def covers(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimiser steps any of the masked parameters."""
        return any(
            id(p) in self._index for group in optimizer.param_groups for p in group["params"]
        )

    def check_model(self, model: nn.Module) -> None:
        """Follows replaced Parameter objects of the model that these masks are for.

        Raises:
            ModelChangedError: parameters were renamed, removed, added or reshaped since; the
                message lists the difference.
        """
        present = dict(model.named_parameters(remove_duplicate=False))
        known = {*self.names, *self._aliases, *self.frozen}
        in_scope = scopes.narrow(scopes.candidates(model), self.include, self.exclude)
        changes = self._arena.changes(present)
        changes += [f"{name} is new" for name in in_scope if name not in known]
        if changes:
            raise ModelChangedError(
                f"the model is not the one its masks were made for: {'; '.join(changes)}. Make new "
                "masks with impcore.Masks(model)"
            )
        self._arena.rebind(present)
        self._aliases = {
            alias: (first, present[alias])
            for alias, (first, _) in self._aliases.items()
            if alias in present
        }
        self._index_parameters()

    def expected_remaining(self) -> int:
        """`remaining`, taking asynchronous prunes for clean: no host read if the count is known."""
        return self.remaining if self._remaining is None else self._remaining

    def pruned(self, count: int, status: torch.Tensor | None) -> None:
        """Notes that `count` weights were pruned; with a status, if that turns out to be clean."""
        if self._remaining is not None:
            self._remaining -= count
        if status is not None:
            self._pending.append(status)

    def settle(self) -> None:
        """Reads the statuses of asynchronous prunes (raises like `remaining`)."""
        if not self._pending:
            return
        statuses = [int(status) for status in self._pending]
        self._pending.clear()
        if any(statuses):
            self._remaining = None
            raise self.non_finite()

    def non_finite(self) -> NonFiniteError:
        """The error that names the parameters whose alive weights hold NaN or infinity."""
        counts = {
            name: int((~torch.isfinite(weight) & self[name]).sum())
            for name, weight in zip(self.names, self.weights, strict=True)
        }
        listed = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
        return NonFiniteError(
            f"alive weights hold NaN or infinity: {listed}; nothing was pruned"
            if listed
            else "a prune met NaN or infinity among alive weights and did nothing"
        )
