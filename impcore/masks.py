"""The masks of a model, seen as a mapping from parameter names.

Invariants: a weight whose mask is 0 holds +0 after every assignment and prune, and after every step
of an optimiser that it is given to; a model has one live `Masks`; the model's state-dict keys never
change.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from impcore import hooks, ops, rewind_source, torch_prune
from impcore import scope as scopes
from impcore.mask_state import MaskState
from impcore.unwrap import unwrap

_ATTRIBUTE = "_impcore_masks"
_COMPUTED = "layers whose weight is computed from other parameters"
_OTHERS = "weights of other layers than Linear and convolutions"


def masks_of(model: nn.Module) -> Masks | None:
    """The live masks of a model, or None; sees through DDP and torch.compile wrappers."""
    return unwrap(model).__dict__.get(_ATTRIBUTE)


class Masks(MaskState, Mapping[str, torch.Tensor]):
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

    Frozen parameters (requires_grad=False), layers whose weight is computed from other parameters
    and, without `include`, matrices of other layers (a packed `in_proj_weight`, recurrent layers)
    are left out with a warning; masks of a module around the model, or in it, get one too. What is
    masked stays so until there are new masks. Copies of a model take theirs along, but for those of
    a torch.fx.GraphModule, which leaves out what it does not know.

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
        patterns = scopes.patterns_of(include, "include"), scopes.patterns_of(exclude, "exclude")
        scope = scopes.find_scope(model, *patterns)
        super().__init__(model, scope, *patterns)
        left = {"frozen parameters": scope.frozen, _COMPUTED: scope.computed, _OTHERS: scope.others}
        for kind, names in left.items():
            if names:
                warnings.warn(f"{kind} are left out of pruning: {', '.join(names)}", stacklevel=2)
        older = masks_of(model)
        for other in hooks.over(scope.parameters.values()):
            if other is not older:
                warnings.warn(
                    f"weights of {type(model).__name__} are masked already, by the masks of a "
                    f"module around it or in it ({len(other)} parameters); both hold from now on, "
                    "and neither counts what the other prunes. Prune one of the two modules, or "
                    "call release() on its masks",
                    stacklevel=2,
                )
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
        if not self._binding.released:
            hooks.watch(self)

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
        parameter = self._binding.maskable(i)
        self.settle()
        self._arena.words_of_one(i)  # may be refused, which is to be known before the weights go
        # Weights first: an interrupt between the two must not leave one alive under a mask of 0.
        parameter.detach().masked_fill_(~value.to(parameter.device), 0)
        self._ledger.remaining = None
        self._arena.write(i, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._binding.names)

    def __contains__(self, name: object) -> bool:
        return name in self._binding.numbers

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
    def density(self) -> float:
        """remaining / total (1.0 for masks over no weights)."""
        return self.remaining / self.total if self.total else 1.0

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over names, shapes and masks in logical order.

        Independent of memory format and device.
        """
        return self.hash_of(self.state_dict())

    def hash_of(self, state: Mapping[str, torch.Tensor]) -> str:
        """`hash`, where `state` is what `state_dict` returns and is at hand."""
        return self._arena.hash(state)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Packed masks: name to uint8 [ceil(numel / 8)] on the CPU.

        Logical (contiguous) order, least significant bit first, padding bits 0.
        """
        self.settle()
        return dict(zip(self.names, self._arena.packed(), strict=True))

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over packed masks and zeroes the weights that they prune.

        Raises:
            ValueError: names, sizes, dtypes or padding bits do not fit; nothing has been changed.
            TypeError: the weights cannot be masked as they are now; nothing has been changed.
        """
        self._binding.check_maskable()
        words = self._arena.from_packed(state)
        bound = self.bound()
        # Weights first: an interrupt between the two must not leave one alive under a mask of 0.
        ops.rewind(self.plan, bound.weights, words)
        self._ledger.forgive()
        bound.words.copy_(words)

    def rewind(self, source: Mapping[str, torch.Tensor]) -> None:
        """theta <- m ? source : +0 for every masked parameter, bit for bit where alive.

        Args:
            source: at least the masked parameters by name (a whole model's state_dict will do), of
                their shapes and dtype, on any device and in any memory format. A copy of them: what
                `model.state_dict()` returns is trained along with the model.

        Raises:
            KeyError, ValueError, TypeError: a name is missing, a shape or dtype differs, or a
                tensor is the parameter itself; nothing has been changed.
        """
        self._binding.check_maskable()
        aligned = rewind_source.aligned(self.names, self.parameters, source)
        bound = self.bound()
        ops.rewind(self.plan, bound.weights, bound.words, aligned)

    def apply(self) -> None:
        """Writes +0 to every pruned weight, in one fused pass.

        For weights that something else than the step of an optimiser over them has written: a state
        dict of before the prune, an average that has taken their place.
        """
        bound = self.bound()
        ops.rewind(self.plan, bound.weights, bound.words)

    def to_torch_prune(self, model: nn.Module) -> None:
        """Prunes `model` by torch.nn.utils.prune instead, under these masks.

        Each masked layer gets `weight_orig` (the same Parameter), `weight_mask` and a forward hook,
        as torch.nn.utils.prune.custom_from_mask makes them; masks of `model` are released.

        Args:
            model: the masks' own, or another with parameters of their names and shapes.

        Raises:
            ValueError: a parameter is missing or has another shape; nothing has been changed.
            NotImplementedError: one is sharded, sparse or on the meta device; likewise.
        """
        model, live = unwrap(model), masks_of(model)
        names = (*self.names, *self._binding.aliases)
        torch_prune.install(model, {name: self[name] for name in names}, live)

    @classmethod
    def from_torch_prune(cls, model: nn.Module) -> Masks:
        """New masks of a model that torch.nn.utils.prune has pruned, which is undone.

        They cover what was pruned that way, and nothing else. Weights get their names and
        Parameters back, with +0 where the masks are 0.

        Raises:
            ValueError, TypeError, NotImplementedError, LayoutError: something else than weights of
                Linear and convolution layers is pruned that way, or they cannot be masked; the
                message names it, and nothing has been changed.
        """
        return torch_prune.take(model, cls)
