"""The packed bits of a model's masked parameters.

Invariants: bits lie in the parameters' storage order and on their device, checked at each use and
permuted or moved after a `.to(...)`; padding bits are 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from impcore import _C, ops
from impcore.binding import Binding
from impcore.ops import checks, library, native
from impcore.ops.plan import WORD_BITS, words_of


@dataclass(frozen=True)
class Bound:
    """Masked weights and their bits, as one look at the model has found them: to be used at once.

    Attributes:
        weights: in the order of the names, for ops alone: to autograd they may be parameters.
        words: the packed masks, in the weights' layout and on their device.
    """

    weights: Sequence[torch.Tensor]
    words: torch.Tensor
    _arena: Arena

    @property
    def scratch(self) -> torch.Tensor:
        """Bits for a selection to write, like `words`; allocated once and kept."""
        return self._arena.spare()[0]

    @property
    def workspace(self) -> torch.Tensor:
        """A selection's workspace, likewise."""
        return self._arena.spare()[1]


class Arena:
    """Masks of bound parameters, at first all ones.

    Attributes:
        plan: the ops' chunk table, one block a parameter.
    """

    # Words made in inference mode could not be written outside of it.
    @torch.inference_mode(False)
    def __init__(self, binding: Binding) -> None:
        parameters = binding.parameters
        self._binding = binding
        self.plan = ops.Plan.make([p.numel() for p in parameters])
        self._strides = [p.stride() for p in parameters]
        self._logical = [torch.empty(p.shape, device="meta").stride() for p in parameters]
        self._words = self._all_ones().to(parameters[0].device)
        self._spare: tuple[torch.Tensor, torch.Tensor] | None = None
        self._places: tuple[list[torch.nn.Parameter], _C.Places] | None = None
        # The model's tree for which the bits have followed, and what ops need of its parameters.
        self._tree: object = None
        self._operands: _C.Operands | None = None

    def _all_ones(self) -> torch.Tensor:
        words = torch.full((self.plan.total_words,), -1, dtype=torch.int32, device="cpu")
        for start, numel in zip(self.plan.words, self.plan.numels, strict=True):
            if numel % WORD_BITS:
                words[start + numel // WORD_BITS] = (1 << numel % WORD_BITS) - 1
        return words

    def __getstate__(self) -> dict[str, Any]:
        # Scratch is not worth copying, and a copy's parameters are in places of their own.
        return {
            **self.__dict__,
            "_spare": None,
            "_places": None,
            "_tree": None,
            "_operands": None,
        }

    @property
    def words(self) -> torch.Tensor:
        """The bits: int32 [plan.total_words], in the parameters' current layout and device.

        Raises:
            ModelChangedError: a parameter has another shape.
            LayoutError, NotImplementedError, ValueError: that layout has gaps or is sparse, or the
                devices are several.
        """
        return self.words_of(self._binding.parameters)

    def words_of(self, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        """`words` for the bound parameters, which have just been looked up."""
        shapes = self._binding.shapes
        if not native.are_laid_out(parameters, shapes, self._strides, self._words):
            self._binding.check_shapes(parameters)
            devices = [p.device for p in parameters]
            same = devices.count(self._words.device) == len(devices)
            strides = [self._stride_of(i, p) for i, p in enumerate(parameters)]
            if not same or strides != self._strides:
                self._follow(parameters, strides)
        return self._words

    def words_of_one(self, i: int) -> torch.Tensor:
        """`words`, of which the i-th parameter's alone are sure to be in its layout and place.

        All are looked at only where that one has changed: whoever goes through the masks one by
        one shall not look at every parameter each time.
        """
        p = self._binding.one(i)
        if (
            p is not None
            and p.device == self._words.device
            and self._stride_of(i, p) == self._strides[i]
            and tuple(p.shape) == self._shape(i)
        ):
            return self._words
        return self.words

    def places(self) -> _C.Places:
        """Where the bits of each bound Parameter are, as the last use found those.

        Not to be traced. Raises as `words` does.
        """
        if self._places is None or self._places[0] is not self._binding.found:
            words = self.words  # which may find others
            found, positions = self._binding.found, self._binding.positions
            starts = [self.plan.words[i] for i in positions]
            self._places = found, _C.Places(found, starts, words)
        return self._places[1]

    @torch.inference_mode(False)
    def _follow(
        self, parameters: Sequence[torch.nn.Parameter], strides: list[tuple[int, ...]]
    ) -> None:
        self._tree = None
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise ValueError(
                f"masked parameters are on several devices: {sorted(map(str, devices))}; move the "
                "model to one device"
            )
        device = devices.pop()
        if device.type == "meta":  # the bits would be lost there, and the model may come back
            checks.check_maskable(parameters[0], self._binding.names[0])
        # Where the weights are now, as the backend of that device is the one that may be forced.
        words = self._words.to(device, copy=True)
        for i, (old, new) in enumerate(zip(self._strides, strides, strict=True)):
            if old != new:
                checks.check_dense(parameters[i], self._binding.names[i])
                span = self._span(i)
                words[span] = ops.bits.permute(words[span], self._shape(i), old, new)
        self._words, self._strides, self._places = words, strides, None

    def bound(self, parameters: Sequence[torch.nn.Parameter], tree: object = None) -> Bound:
        """The bound parameters, which have just been looked up, and `words`.

        tree: stands for all that they are but their values (`Binding.check_model`); None: unknown.
        """
        if torch.compiler.is_compiling():  # ops that are traced would need a gradient's formula
            return Bound([p.detach() for p in parameters], self.words_of(parameters), self)
        library.refuse_fake()  # before scratch is made, which is kept
        if tree is not None and tree is self._tree:
            assert self._operands is not None
            known = native.Weights(parameters, self.plan.numels, self._operands)
            return Bound(known, self._words, self)
        words = self.words_of(parameters)
        weights = self._read(self.plan, parameters)
        if tree is not None and isinstance(weights, native.Weights):
            self._tree, self._operands = tree, weights.operands
        return Bound(weights, words, self)

    def bound_part(
        self, parameters: Sequence[torch.nn.Parameter], some: tuple[int, ...]
    ) -> tuple[ops.Plan, Bound]:
        """The plan's part for some of these parameters, by position, and `bound` for them.

        Others are looked at only where one of these has changed, as there may be as many parts as
        parameters.
        """
        part = self.plan.part(some)
        if part is self.plan:
            return part, self.bound(parameters)
        if torch.compiler.is_compiling():
            weights = [parameters[i].detach() for i in some]
            return part, Bound(weights, self.words_of(parameters), self)
        library.refuse_fake()
        found = [parameters[i] for i in some]
        shapes, strides = [self._shape(i) for i in some], [self._strides[i] for i in some]
        laid = native.are_laid_out(found, shapes, strides, self._words)
        words = self._words if laid else self.words_of(parameters)
        return part, Bound(self._read(part, found), words, self)

    def _read(
        self, plan: ops.Plan, parameters: Sequence[torch.nn.Parameter]
    ) -> Sequence[torch.Tensor]:
        """A plan's weights as ops take them at no second look, if they certainly are."""
        weights = native.read_weights(plan.numels, parameters)
        if weights is None:
            self._binding.check_maskable()  # by name, where an op would count
            return parameters
        return weights

    def spare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scratch bits and a selection's workspace where the bits are, allocated once and kept."""
        device = self._words.device
        if (
            self._spare is None
            or self._spare[0].device != device
            or self._spare[1].numel() < ops.workspace_bytes(self.plan, device)  # another backend's
        ):
            with torch.inference_mode(False):
                self._spare = torch.empty_like(self._words), ops.workspace(self.plan, device)
        return self._spare

    def read(self, i: int) -> torch.Tensor:
        """The i-th mask as a bool tensor of the parameter's shape and strides (a copy)."""
        return self.stored(i).as_strided(self._shape(i), self._strides[i])

    def stored(self, i: int) -> torch.Tensor:
        """The i-th mask as a flat bool tensor in storage order (a copy)."""
        return ops.bits.unpack(self.words_of_one(i)[self._span(i)], self.plan.numels[i])

    def write(self, i: int, mask: torch.Tensor) -> None:
        """Replaces the i-th mask by a bool tensor of the parameter's shape."""
        words = self.words_of_one(i)
        ordered = torch.empty_strided(
            self._shape(i), self._strides[i], dtype=torch.bool, device=words.device
        ).copy_(mask)
        words[self._span(i)] = ops.bits.pack(ordered.as_strided((ordered.numel(),), (1,)))

    def packed(self) -> list[torch.Tensor]:
        """Each mask as uint8 [ceil(numel / 8)] on the CPU, in logical (contiguous) order."""
        words = self.words
        moved = [i for i, old in enumerate(self._strides) if old != self._logical[i]]
        if moved:
            words = words.clone()
        for i in moved:
            span = self._span(i)
            words[span] = ops.bits.permute(
                words[span], self._shape(i), self._strides[i], self._logical[i]
            )
        on_host = words.cpu().view(torch.uint8)  # one copy, however many masks
        found = zip(self.plan.words, self.plan.numels, strict=True)
        return [on_host[4 * word : 4 * word - (-numel // 8)].clone() for word, numel in found]

    def hash(self, packed: Mapping[str, torch.Tensor]) -> str:
        """SHA-256 (hex) over names, shapes and masks, `packed` in logical order."""
        digest = hashlib.sha256()
        for i, name in enumerate(self._binding.names):
            digest.update(f"{name}\0{self._shape(i)}\0".encode())
            digest.update(packed[name].numpy().data)
        return digest.hexdigest()

    def from_packed(self, packed: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """`words` as what `packed` wrote says.

        Raises:
            ValueError: a name, size, dtype or padding bit does not fit.
        """
        names = self._binding.names
        missing, extra = set(names) - set(packed), set(packed) - set(names)
        if missing or extra:
            raise ValueError(f"masks missing: {sorted(missing)}, unexpected: {sorted(extra)}")
        words = torch.zeros_like(self.words)
        for i, name in enumerate(names):
            found = _words_of_bytes(name, packed[name], self.plan.numels[i]).to(words.device)
            old, new = self._logical[i], self._strides[i]
            if old != new:
                found = ops.bits.permute(found, self._shape(i), old, new)
            words[self._span(i)] = found
        return words

    def _stride_of(self, i: int, parameter: torch.nn.Parameter) -> tuple[int, ...]:
        checks.check_strided(parameter, self._binding.names[i])
        return parameter.stride()

    def _shape(self, i: int) -> tuple[int, ...]:
        return self._binding.shapes[i]

    def _span(self, i: int) -> slice:
        return self.plan.spans[i]


def _words_of_bytes(name: str, packed: torch.Tensor, numel: int) -> torch.Tensor:
    size = -(-numel // 8)
    if not isinstance(packed, torch.Tensor):
        raise ValueError(f"the packed mask of {name} must be a tensor, not {packed!r}")
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (size,):
        raise ValueError(
            f"the packed mask of {name} must be uint8 of shape ({size},), not {packed.dtype} of "
            f"shape {tuple(packed.shape)}"
        )
    padded = torch.zeros(words_of(numel) * 4, dtype=torch.uint8, device="cpu")
    padded[:size] = packed.cpu()
    if numel % 8 and int(padded[size - 1]) >> numel % 8:
        raise ValueError(f"the packed mask of {name} has padding bits set beyond {numel} weights")
    return padded.view(torch.int32)
