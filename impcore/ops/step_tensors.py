"""The tensors of an optimiser's step, on the way from the optimiser to the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from impcore.ops import native

if TYPE_CHECKING:
    from impcore import _C


class StepTensors(NamedTuple):
    """Tensors of one dtype on one device, in lists that go side by side in one storage order.

    Attributes:
        params: what is stepped.
        grads: their gradients.
        states: a list for each kind of state, in the kernel's order.
        counts: how many steps each has taken, if they are counted: float32, one element.
        mask: int32 mask arena, or None.
        starts: `words`, unless they are in `read`.
        read: all of that as addresses, where it has been read.
        masked: how many of the params were then found to have a mask.
    """

    params: list[Tensor]
    grads: list[Tensor]
    states: list[list[Tensor]]
    counts: list[Tensor]
    mask: Tensor | None
    starts: list[int] | None
    read: _C.StepArgs | None = None
    masked: int = 0

    @property
    def words(self) -> list[int]:
        """Each param's first word in the arena, or -1 for no mask."""
        if self.read is not None:
            return self.read.words
        return self.starts or []

    def args(self) -> _C.StepArgs:
        """What a native op takes."""
        if self.read is not None:
            return self.read
        lists = self.params, self.grads, self.states, self.counts
        return native.step_args(*lists, self.mask, self.words)

    def written(self) -> Iterable[Tensor]:
        """The tensors that a step writes."""
        return chain(self.params, *self.states, self.counts)
