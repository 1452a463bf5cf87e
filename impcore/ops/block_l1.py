"""The block sums behind the magnitude flow: sum |m theta| and sum m per block.

M_i = sums[0, i] / sum(sums[0]) is eq. 13 of Redman et al., "Universality of Winning Tickets";
P_i = sums[1, i] / sum(sums[1]) is its count analogue. Invariant: float64, folded in a fixed order,
so repeated runs give the same bits at any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore.ops import backend, checks, chunk_table, library
from impcore.ops.plan import Plan


def block_l1(plan: Plan, weights: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Sums of |m theta| (row 0) and of m (row 1) per block: float64 [2, plan.num_blocks].

    A measurement: the sums carry no gradient.

    Args:
        plan: made for the weights' sizes; its blocks say which sums a tensor adds to.
        weights: float32, bfloat16 or float16, one dtype, dense layouts.
        mask: int32 [plan.total_words], the mask arena.

    Raises:
        TypeError, ValueError: an argument does not fit the plan.
    """
    found = checks.check_weights(plan.numels, weights, "weights")
    checks.check_arena(mask, plan.total_words, checks.place_of(found, mask), "mask")
    sums: torch.Tensor = _block_l1(plan.chunks, found, mask, plan.num_blocks)
    return sums


def _any(
    chunks: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor, num_blocks: int
) -> torch.Tensor:
    run = backend.find("block_l1", mask.device).block_l1
    return run(chunk_table.on(mask.device, chunks), weights, mask, num_blocks)  # type: ignore[no-any-return]


_block_l1 = library.register(
    "block_l1(Tensor chunks, Tensor[] weights, Tensor mask, int num_blocks) -> Tensor",
    _any,
    lambda chunks, weights, mask, num_blocks: mask.new_empty((2, num_blocks), dtype=torch.float64),
)
