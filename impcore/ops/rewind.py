"""theta <- m ? source : +0 over many tensors in one pass.

Invariant: a selection, never a multiplication: a dead weight becomes +0 whatever it held (Inf * 0
would be NaN), and a survivor gets the source's bits unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore.ops import backend, checks, chunk_table, library
from impcore.ops.plan import Plan


def rewind(
    plan: Plan,
    weights: Sequence[torch.Tensor],
    mask: torch.Tensor,
    source: Sequence[torch.Tensor] | None = None,
) -> None:
    """Writes `source` (by default the weights themselves) under the mask, and +0 elsewhere.

    Args:
        plan: made for the weights' sizes.
        weights: written in place; float32, bfloat16 or float16, one dtype, dense layouts.
        mask: int32 [plan.total_words], the mask arena.
        source: tensors of the weights' sizes, dtype and storage order.

    Raises:
        TypeError, ValueError: an argument does not fit the plan.
    """
    targets = checks.check_weights(plan.numels, weights, "weights")
    checks.check_arena(mask, plan.total_words, checks.place_of(targets, mask), "mask")
    sources = checks.check_source(plan.numels, source, targets)
    _rewind(plan.chunks, targets, mask, sources)


def _any(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    run = backend.find("rewind", mask.device).rewind
    run(chunk_table.on(mask.device, chunks), weights, mask, source)
    library.written(weights)


_rewind = library.register(
    "rewind(Tensor chunks, Tensor(a!)[] weights, Tensor mask, Tensor[] source) -> ()",
    _any,
    lambda chunks, weights, mask, source: None,
)
