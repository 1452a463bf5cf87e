"""Where the masked parameters of a model are, found anew at each use.

Invariant: `parameters` are the Parameter objects that the model holds now, also after
`load_state_dict(assign=True)` or a conversion that replaced them; if the model no longer has them,
that is an error and never a mask that guards nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence, Set
from operator import is_
from typing import Any

import torch
from torch import nn
from torch._compile import _disable_dynamo

from impcore import _C, parameter_paths
from impcore import scope as scopes
from impcore.errors import ModelChangedError


class Binding:
    """Masked parameters by name.

    Attributes:
        names, shapes: of the masked parameters, in order.
        aliases: further names of the same memory, to the first.
        numbers: from each name, further ones included, to its position among `names`.
        frozen: names that were left out because they did not require gradients.
        found: the masked Parameters, further names' included, as the last use found them: the same
            list as long as none is replaced.
        positions: of each of these, its position among `names`.
        released: whether the masks guard nothing any more. They go on guarding the parameters of
            the last use where only the model is gone, and its layers live on in another.
    """

    def __init__(self, model: nn.Module, scope: scopes.Scope) -> None:
        self.names = list(scope.parameters)
        self.shapes = [tuple(p.shape) for p in scope.parameters.values()]
        self.aliases = scope.aliases
        self.numbers = {name: i for i, name in enumerate(self.names)}
        self._further: dict[int, list[str]] = {}
        for name, first in self.aliases.items():
            self.numbers[name] = self.numbers[first]
            self._further.setdefault(self.numbers[first], []).append(name)
        self.frozen = scope.frozen
        self._inner, self._leaves = parameter_paths.find([*self.names, *self.aliases])
        self._paths = _C.ParameterPaths(self._inner, self._leaves)
        self.released = False
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self._checked: tuple[Any, ...] | None = None
        self._bind(parameter_paths.walk(model, self._inner, self._leaves))

    # A copied or unpickled model takes its masks along: both find the same copies in one memo.
    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_model": self.model,
            "_index": None,
            "_pairs": None,
            "positions": None,
            "_paths": None,
            "_checked": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        model = state["_model"]
        self._model = None if model is None else weakref.ref(model)
        self._paths = _C.ParameterPaths(self._inner, self._leaves)
        self._bind(self.found)  # the model itself may be half unpickled

    @property
    def model(self) -> nn.Module | None:
        """The model, unless the masks were released or it is gone."""
        return None if self._model is None else self._model()

    def release(self) -> None:
        """Lets go of the model and keeps the parameters of the last use."""
        self.released = True
        self._model = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The model's masked parameters, in the order of `names`.

        Raises:
            ModelChangedError: the model no longer has one of them in the same shape.
        """
        self._follow()
        return self.last

    @property
    def last(self) -> list[nn.Parameter]:
        """`parameters`, as the last use found them."""
        return self.found[: len(self.names)]

    def holds(self, met: int) -> bool:
        """Whether the model certainly still has the Parameters that the last use found.

        Of these `met` have just been in use; where not all have been, the model is looked through,
        which may have others in their place; one that is gone has not. Not to be traced.
        """
        if met == len(self.found) and not self._pairs:
            return True
        model = self.model
        leads = model is None or self._paths.lead_to(model, self.found)
        return leads and not self._untied()

    def index(self) -> dict[int, int]:
        """From the id of each masked Parameter, further names' included, to its position."""
        self._follow()
        return self._index

    def knew(self, ids: Set[int]) -> bool:
        """Whether any of these was the id of a masked Parameter at the last use."""
        return not self._index.keys().isdisjoint(ids)

    def has(self, ids: Set[int]) -> bool:
        """Whether any of these is the id of a Parameter of the model, masked or not."""
        model = self.model
        return model is not None and any(id(p) in ids for p in model.parameters())

    def position(self, name: str) -> int:
        """The position of a name or alias.

        Raises:
            KeyError: it is not masked.
        """
        try:
            return self.numbers[name]
        except KeyError:
            raise KeyError(f"{name!r} is not a masked parameter") from None

    def maskable(self, i: int) -> nn.Parameter:
        """The i-th masked parameter, which alone is looked at.

        Raises:
            ModelChangedError: it is gone, tied in another way or has another shape.
            TypeError, LayoutError: it can no longer be masked.
        """
        found = self.one(i)
        if found is None:
            found = self.parameters[i]  # raises, and lists what else has changed
        name, shape = self.names[i], self.shapes[i]
        self._refuse([_reshaped(name, shape, found)] if tuple(found.shape) != shape else [])
        scopes.check_maskable({name: found})
        return found

    def one(self, i: int) -> nn.Parameter | None:
        """The i-th masked parameter alone, as the model holds it now under each of its names.

        None if it is gone, or tied in another way. It costs the same however many there are.
        """
        model = self.model
        if model is None:
            return self.found[i]
        held = [
            parameter_paths.parameter(model, name)
            for name in (self.names[i], *self._further.get(i, ()))
        ]
        first = held[0]
        if first is None or self._index.get(id(first), i) != i:
            return None
        tied = all(p is first or (p is not None and _same_place(p, first)) for p in held)
        return first if tied else None

    def check_model(self, include: scopes.Patterns, exclude: scopes.Patterns) -> object:
        """Raises unless the model has these prunable parameters, no others, and they can be masked.

        After it `last` are the parameters that the model has now. As long as it returns the same
        object, and not None, they are the same in type, place and layout.

        Raises:
            ModelChangedError: parameters were renamed, removed, added or reshaped; all are listed.
            TypeError, LayoutError, ValueError: a parameter can no longer be masked, by name.
        """
        model = self.model
        if model is None:
            self.check_maskable()
            return None
        include = scopes.included(model, include)
        # Most often nothing has changed since the last check, and seeing that is far cheaper.
        if self._checked is not None:
            tree, _, *patterns = self._checked
            if patterns == [include, exclude] and tree.is_that_of(model):
                return tree
        known = {*self.names, *self.aliases, *self.frozen}
        in_scope = scopes.narrow(scopes.candidates(model), include, exclude)
        self._refuse([*self._lost(model), *(f"{n} is new" for n in in_scope if n not in known)])
        self.check_maskable()
        tree_and_kept = _C.ModuleTree.read(model)  # without end where a module holds itself
        if tree_and_kept is None:
            return None
        self._checked = (*tree_and_kept, include, exclude)
        return self._checked[0]

    def check_maskable(self) -> None:
        """Raises unless the parameters can be masked as they are now; messages give names."""
        scopes.check_maskable(dict(zip(self.names, self.parameters, strict=True)))

    def check_shapes(self, parameters: Sequence[nn.Parameter]) -> None:
        """Raises ModelChangedError unless these still have `shapes`; their data may be replaced."""
        found = zip(self.names, self.shapes, parameters, strict=True)
        self._refuse([_reshaped(name, was, p) for name, was, p in found if tuple(p.shape) != was])

    def _follow(self) -> None:
        model = self.model
        if model is None:
            return
        if not torch.compiler.is_compiling() and self.holds(0):
            return
        try:
            found = parameter_paths.walk(model, self._inner, self._leaves)
        except (KeyError, AttributeError):
            found = []
        same = len(found) == len(self.found) and all(map(is_, found, self.found))
        if not same or self._untied():
            self._rebind(model, found)

    # Not traceable. torch.compiler.disable would import the compiler, which takes a second; this is
    # how torch's own modules put that off.
    @_disable_dynamo
    def _rebind(self, model: nn.Module, found: list[nn.Parameter]) -> None:
        self._refuse(self._lost(model))
        self._bind(found)

    def _untied(self) -> bool:
        """Whether Parameter objects that shared memory no longer do, as after `.half()`."""
        return not all(_same_place(p, first) for p, first in self._pairs)

    def _bind(self, found: list[nn.Parameter]) -> None:
        self.found = found
        self._checked = None  # it knows these parameters by their addresses
        self.positions = positions = list(self.numbers.values())
        self._index = {id(p): i for p, i in zip(found, positions, strict=True)}
        pairs = [(p, found[i]) for p, i in zip(found, positions, strict=True)]
        self._pairs = [(p, first) for p, first in pairs if p is not first]

    def _lost(self, model: nn.Module) -> list[str]:
        """What is gone, reshaped, tied in another way or under another's name, a phrase each."""
        present = dict(model.named_parameters(remove_duplicate=False))
        lost = [f"{name} is gone" for name in (*self.names, *self.aliases) if name not in present]
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name in present and tuple(present[name].shape) != shape:
                lost.append(_reshaped(name, shape, present[name]))
        if not lost:
            ours = set(self.names)
            known = {name: p for name, p in present.items() if name in ours}
            known |= {name: present[name] for name in self.aliases}
            _, aliases = scopes.merge_tied(known)
            for name in sorted({*self.aliases, *aliases}):
                was, now = self.aliases.get(name), aliases.get(name)
                # There PyTorch parts tied Parameters, and has no memory that they could share.
                on_meta = present[name].is_meta and present[was or name].is_meta
                if was != now and not (on_meta and now is None):
                    lost.append(f"{name} was tied to {was}, is tied to {now}")
        # As where a layer was inserted before others, each mask would be on another's weights.
        return lost or [
            f"{name} holds what {self.names[self._index[id(present[name])]]} held"
            for name, i in self.numbers.items()
            if self._index.get(id(present[name]), i) != i
        ]

    def _refuse(self, changes: list[str]) -> None:
        if changes:
            raise ModelChangedError(
                f"the model is not the one its masks were made for: {'; '.join(changes)}. Make new "
                "masks with impcore.Masks(model)"
            )


def _same_place(one: nn.Parameter, other: nn.Parameter) -> bool:
    """Whether two Parameter objects are over the same memory."""
    return scopes.pointer(one) == scopes.pointer(other)


def _reshaped(name: str, was: tuple[int, ...], parameter: nn.Parameter) -> str:
    return f"{name} was {was}, is {tuple(parameter.shape)}"
