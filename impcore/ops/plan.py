"""A plan: how a list of tensors is cut into chunks, and where each one's mask bits lie.

Invariants: tensors start at a 32-bit word of the mask arena; bits follow the tensor's storage
order; the same numels give the same plan on every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch

from impcore import _C
from impcore.ops import library

WORD_BITS = 32
_KEPT = 16
"""Parts of a plan are kept up to about as many tensors as it has itself, this many times."""


def words_of(numel: int) -> int:
    """How many 32-bit mask words `numel` weights take."""
    return -(-numel // WORD_BITS)


@dataclass(frozen=True, eq=False)
class Plan:
    """The chunk table of a list of tensors. Make one with `Plan.make`.

    Attributes:
        numels: elements of each tensor.
        blocks: the block whose sums each tensor adds to, in [0, num_blocks).
        words: the first arena word of each tensor.
        total_words: words in a mask arena.
        num_blocks: columns of the block sums.
        chunks: int64 [chunks, 5] on the CPU: tensor, offset, length, word, block (csrc/plan.h).
    """

    numels: tuple[int, ...]
    blocks: tuple[int, ...]
    words: tuple[int, ...]
    total_words: int
    num_blocks: int
    chunks: torch.Tensor = field(repr=False)
    _parts: dict[tuple[int, ...], Plan] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # Made again where they are needed; a saved model shall not tell which optimisers it had.
        return {**self.__dict__, "_parts": {}}

    @staticmethod
    def make(numels: Sequence[int], blocks: Sequence[int] | None = None) -> Plan:
        """Plans for tensors of these sizes; by default each tensor is a block of its own.

        Raises:
            ValueError: a negative size, or blocks that are negative or not one a tensor.
        """
        sizes = [int(n) for n in numels]
        ids = list(range(len(sizes))) if blocks is None else [int(b) for b in blocks]
        if any(n < 0 for n in sizes):
            raise ValueError(f"numels must not be negative, got {min(sizes)}")
        if len(ids) != len(sizes) or any(b < 0 for b in ids):
            raise ValueError(
                f"blocks must name a block >= 0 for each of {len(sizes)} tensors, got {ids}"
            )
        starts = list(accumulate((words_of(n) for n in sizes), initial=0))
        chunks = torch.empty((_C.count_chunks(sizes), 5), dtype=torch.int64, device="cpu")
        _C.fill_chunks(sizes, ids, chunks.data_ptr())
        return Plan(
            numels=tuple(sizes),
            blocks=tuple(ids),
            words=tuple(starts[:-1]),
            total_words=starts[-1],
            num_blocks=max(ids, default=-1) + 1,
            chunks=chunks,
        )

    def with_blocks(self, blocks: Sequence[int]) -> Plan:
        """The same layout with other blocks (raises like `make`)."""
        return Plan.make(self.numels, blocks)

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """Each tensor's words in a mask arena."""
        ends = (start + words_of(n) for start, n in zip(self.words, self.numels, strict=True))
        return tuple(slice(start, end) for start, end in zip(self.words, ends, strict=True))

    @cached_property
    def single(self) -> tuple[Plan, ...]:
        """A plan for each tensor alone; its arena is the tensor's span of this plan's."""
        return tuple(Plan.make([n]) for n in self.numels)

    def part(self, tensors: tuple[int, ...]) -> Plan:
        """The plan for some of the tensors, by rising positions; their bits are in this arena.

        Raises:
            NotImplementedError: it is not known yet, and a FakeTensorMode is on.
        """
        if len(tensors) == len(self.numels):
            return self
        if tensors not in self._parts:
            library.refuse_fake()  # before chunks are made, which are kept
            made = self._part(tensors)
            # As where other layers are trained each time: the oldest go first.
            while len(self._parts) * len(tensors) >= _KEPT * len(self.numels):
                del self._parts[next(iter(self._parts))]
            self._parts[tensors] = made
        return self._parts[tensors]

    def _part(self, tensors: tuple[int, ...]) -> Plan:
        # By bounds: to select rows by a mask, PyTorch would wake its threads for each part.
        wanted = torch.tensor(tensors, dtype=torch.int64, device="cpu")
        column = self.chunks[:, 0].contiguous()
        bounds = [
            torch.searchsorted(column, wanted, right=right).tolist() for right in (False, True)
        ]
        found = [range(*each) for each in zip(*bounds, strict=True)]
        rows = [row for each in found for row in each]
        chunks = self.chunks[torch.tensor(rows, dtype=torch.int64, device="cpu")]
        new = [i for i, each in enumerate(found) for _ in each]
        chunks[:, 0] = torch.tensor(new, dtype=torch.int64, device="cpu")
        return replace(
            self,
            numels=tuple(self.numels[i] for i in tensors),
            blocks=tuple(self.blocks[i] for i in tensors),
            words=tuple(self.words[i] for i in tensors),
            chunks=chunks,
        )

    @cached_property
    def total(self) -> int:
        """Elements of all tensors together."""
        return sum(self.numels)

    @cached_property
    def workspaces(self) -> dict[str, int]:
        """Bytes of scratch that a selection needs, by the name of the backend's module."""
        return {}
