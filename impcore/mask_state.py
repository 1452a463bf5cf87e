"""What masks hold: bits, the parameters that they are of, and how many weights are alive.

This is what `prune_global`, `Flow`, the hook and the masked optimisers work with; users see it as
the mapping `impcore.Masks`. Invariant: bits follow the parameters' layout and device, and a count
is right or unknown.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch
from torch import nn

from impcore import _C, ops
from impcore import scope as scopes
from impcore.arena import Arena, Bound
from impcore.binding import Binding
from impcore.errors import LayoutError, ModelChangedError
from impcore.outcome import Ledger


class MaskState:
    """Masks of the parameters in a scope, at first all ones.

    Attributes:
        include, exclude: the patterns that the scope was found with.
    """

    def __init__(
        self,
        model: nn.Module,
        scope: scopes.Scope,
        include: scopes.Patterns,
        exclude: scopes.Patterns,
    ) -> None:
        self.include, self.exclude = include, exclude
        self._binding = Binding(model, scope)
        self._arena = Arena(self._binding)
        self._ledger = Ledger(self.total)

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

    def bound(self) -> Bound:
        """`weights` and `words` of one look at the model, for ops alone."""
        return self._arena.bound(self._binding.parameters)

    def words_of(self, parameters: Sequence[torch.Tensor]) -> list[int]:
        """Each parameter's first word, or -1 where it is not masked (or the masks are released)."""
        if self._binding.released:
            return [-1] * len(parameters)
        index, words = self._binding.index(), self.plan.words
        found = [index.get(id(p)) for p in parameters]
        return [-1 if i is None else words[i] for i in found]

    def place(self, parameters: Sequence[torch.Tensor]) -> tuple[list[int], torch.Tensor | None]:
        """`words_of` the parameters, and `words` if any of them is masked."""
        words = self.words_of(parameters)
        masked = max(words, default=-1) >= 0
        return words, self._arena.words_of(self._binding.last) if masked else None

    def places(self) -> _C.Places | None:
        """Where the bits of each masked Parameter are, for `native.gather`; None if released.

        Whether the model still has these Parameters is for `hold` to say. Not to be traced.
        """
        return None if self._binding.released else self._arena.places()

    def hold(self, met: int) -> bool:
        """Whether the model certainly still has the Parameters in `places`.

        `met` of them have gradients, which is to say, have just been in use.
        """
        return self._binding.holds(met)

    def among(self, ids: Set[int]) -> tuple[int, ...]:
        """The positions of the masked Parameters with these ids, as the model holds them now.

        Raises:
            ModelChangedError, LayoutError: the model can no longer be masked, and one of these is
                of it.
        """
        try:
            found = self._binding.index()
        except (ModelChangedError, LayoutError):
            if self._binding.knew(ids) or self._binding.has(ids):
                raise
            return ()
        met = found.keys() & ids
        if len(met) == len(found):  # as with most optimisers
            return tuple(range(len(self.names)))
        return tuple(sorted({found[key] for key in met}))

    def apply_to(self, positions: tuple[int, ...]) -> None:
        """Writes +0 to the pruned weights of some parameters, in one fused pass.

        `positions` are what `among` has returned. Other parameters are not touched.
        """
        part, bound = self._arena.bound_part(self._binding.parameters, positions)
        ops.rewind(part, bound.weights, bound.words)

    def check_model(self) -> Bound:
        """Raises unless the model is what these masks were made for, and can be masked as it is.

        Returns what `bound` does, at no second look.

        Raises:
            ModelChangedError: parameters were renamed, removed, added, reshaped or tied in another
                way; the message lists the difference.
            TypeError, LayoutError, ValueError: a parameter can no longer be masked, by name.
        """
        tree = self._binding.check_model(self.include, self.exclude)
        return self._arena.bound(self._binding.last, tree)

    def expected_remaining(self) -> int:
        """`remaining`, taking asynchronous prunes for clean: no host read if the count is known."""
        known = self._ledger.remaining
        return self.remaining if known is None else known

    def commit(self, bound: Bound, status: torch.Tensor, count: int | None, sync: bool) -> None:
        """Takes over the scratch arena of a selection of `count` weights, if its status is clean.

        `bound` is what the selection was given. A count of None is unknown. With `sync` the status
        has been read and is clean; otherwise `settle` reads it later.
        """
        # Until it is over, an interrupt must not leave a number behind that may be wrong.
        remaining, self._ledger.remaining = self._ledger.remaining, None
        if not sync:
            self._ledger.defer(status)
        ops.commit(self.plan, bound.weights, bound.words, bound.scratch, status)
        if remaining is not None and count is not None:
            self._ledger.remaining = remaining - count

    def settle(self) -> None:
        """Reads the statuses of asynchronous prunes (raises like `remaining`)."""
        self._ledger.settle(self)
