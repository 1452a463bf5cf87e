"""The masks of a model, seen as a mapping from parameter names.

Invariants: a weight whose mask is 0 holds +0 after every assignment, prune and optimiser step; a
model has one live `Masks`; the model's state-dict keys never change.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from impcore import hooks, ops
from impcore import scope as scopes
from impcore.arena import Arena
from impcore.binding import Binding
from impcore.outcome import Ledger
from impcore.unwrap import unwrap

_ATTRIBUTE = "_impcore_masks"
_COMPUTED = "layers whose weight is computed from other parameters"


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
        include: fnmatch patterns on parameter names; only these, among the weights of Linear and
            convolution layers that require gradients. None means all of them, or what the model's
            `prunable_patterns()` says where its class has that method.
        exclude: patterns to leave out; a tied parameter is left out under any of its names.

    Frozen parameters (requires_grad=False) and layers whose weight is computed from other
    parameters are left out with a warning. What is masked stays so until there are new masks.

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
        self._binding = Binding(model, scope)
        self._arena = Arena(self._binding)
        self._ledger = Ledger(self.total)
        for kind, names in (("frozen parameters", scope.frozen), (_COMPUTED, scope.computed)):
            if names:
                warnings.warn(f"{kind} are left out of pruning: {', '.join(names)}", stacklevel=2)
        older = masks_of(model)
        if older is not None:
            older.release()
        object.__setattr__(model, _ATTRIBUTE, self)
        hooks.watch(self)

    def release(self) -> None:
        """Detaches the masks from the model: weights may grow back from the next step on."""
        model = self._binding.model
        if model is not None and model.__dict__.get(_ATTRIBUTE) is self:
            object.__delattr__(model, _ATTRIBUTE)
        self._binding.release()
        hooks.unwatch(self)

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._binding.model is not None:
            hooks.watch(self)

    @property
    def names(self) -> list[str]:
        """The masked parameters' names, in the order of `named_parameters()`."""
        return list(self._binding.names)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The masked parameters, in the order of `names`, as the model holds them now.

        Raises:
            ModelChangedError: the model no longer has one of them in the same shape.
        """
        return self._binding.parameters

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names that were left out because they did not require gradients."""
        return self._binding.frozen

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._arena.read(self._binding.position(name))

    def __setitem__(self, name: str, value: torch.Tensor) -> None:
        i = self._binding.position(name)
        if not isinstance(value, torch.Tensor) or value.dtype != torch.bool:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"masks[{name!r}] takes a bool tensor, not {kind}")
        shape = self._binding.shapes[i]
        if tuple(value.shape) != shape:
            raise ValueError(f"masks[{name!r}] has shape {shape}, not {tuple(value.shape)}")
        self._binding.check_maskable()
        self.settle()
        self._ledger.remaining = None
        self._arena.write(i, value)
        self.apply()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._binding.names)

    def __contains__(self, name: object) -> bool:
        return name in self._binding.names or name in self._binding.aliases

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
            NonFiniteError, LayerCollapseError, ValueError: an earlier prune_global(sync=False) did
                nothing; the message says why.
        """
        self.settle()
        if self._ledger.remaining is None:
            self._ledger.remaining = int(ops.bits.count(self.words))
        return self._ledger.remaining

    @property
    def density(self) -> float:
        """remaining / total (1.0 for masks over no weights)."""
        return self.remaining / self.total if self.total else 1.0

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over names, shapes and masks in logical order.

        Independent of memory format and device.
        """
        self.settle()
        return self._arena.hash()

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
            TypeError: the weights cannot be masked as they are now; nothing has been changed.
        """
        self._binding.check_maskable()
        self._ledger.remaining = None
        self._arena.load_packed(state)
        self._ledger.forgive()
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
        self._binding.check_maskable()
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

    def stored(self, i: int) -> torch.Tensor:
        """The mask of the i-th of `names`: bool [numel], in its parameter's storage order."""
        return self._arena.stored(i)

    def spare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A scratch arena and the selection's workspace, allocated once and kept."""
        return self._arena.spare()

    def words_of(self, parameters: Sequence[torch.Tensor]) -> list[int]:
        """Each parameter's first word, or -1 where it is not masked (or the masks are released)."""
        if self._binding.model is None:
            return [-1] * len(parameters)
        index = self._binding.index()
        found = (index.get(id(p)) for p in parameters)
        return [-1 if i is None else self.plan.words[i] for i in found]

    def covers(self, ids: Iterable[int]) -> bool:
        """Whether any of these is the id of a masked Parameter, as the model holds them now."""
        return not self._binding.index().keys().isdisjoint(ids)

    def check_model(self) -> None:
        """Raises unless the model is what these masks were made for, and can be masked as it is.

        Raises:
            ModelChangedError: parameters were renamed, removed, added, reshaped or tied in another
                way; the message lists the difference.
            TypeError, LayoutError, ValueError: a parameter can no longer be masked, by name.
        """
        self._binding.check_model(self.include, self.exclude)

    def expected_remaining(self) -> int:
        """`remaining`, taking asynchronous prunes for clean: no host read if the count is known."""
        known = self._ledger.remaining
        return self.remaining if known is None else known

    def commit(self, status: torch.Tensor, count: int | None, sync: bool) -> None:
        """Takes over the scratch arena of a selection of `count` weights, if its status is clean.

        A count of None is unknown. With `sync` the status has been read and is clean; otherwise
        `settle` reads it later.
        """
        # Until it is over, an interrupt must not leave a number behind that may be wrong.
        remaining, self._ledger.remaining = self._ledger.remaining, None
        if not sync:
            self._ledger.defer(status)
        ops.commit(self.plan, self.weights, self.words, self.spare()[0], status)
        if remaining is not None and count is not None:
            self._ledger.remaining = remaining - count

    def settle(self) -> None:
        """Reads the statuses of asynchronous prunes (raises like `remaining`)."""
        self._ledger.settle(self)
