"""Count and L1 norm of a tensor under its mask, in float64, at the speed of the memory.

Invariant: by selection, never by multiplication: what lies under a mask, NaN included, does not
enter. A mask holds 0 and 1 alone, in whatever dtype, or it is refused.

The usual pair, float32 weight and float32 mask, is handled by its bits: 1.0 is 0x3f800000, so the
top three bits say 0 or 1, and the negated bit is an integer mask for |θ|. That takes 1.1 ns an
element where torch.where and abs take 5 (one core, 19 ResNet-50 checkpoints: 15 s to 4 s).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from impcore.errors import CheckpointError, NonFiniteError

if TYPE_CHECKING:
    import torch

_CHUNK = 1 << 15  # elements: temporaries stay in the cache, and no thread pool is woken
_ONE = 0x3F800000  # 1.0 in float32
_MAGNITUDE = 0x7FFFFFFF


def masked_l1(weight: torch.Tensor | None, mask: torch.Tensor | None) -> tuple[int, float]:
    """Number of alive elements and Σ|mθ|; the latter is NaN where there is no weight.

    Args:
        weight: any shape, floating point; None where only the mask is known.
        mask: the same shape, 0 and 1 in any dtype; None means all alive.

    Raises:
        CheckpointError: the weight is not floating point, or the mask not 0 and 1.
        NonFiniteError: an alive weight is NaN or infinite.
    """
    if weight is not None and not weight.is_floating_point():
        raise CheckpointError(f"must be floating point, not {weight.dtype}")
    given = weight if weight is not None else mask
    size = 0 if given is None else given.numel()
    weights = None if weight is None else weight.reshape(-1)
    masks = None if mask is None else mask.reshape(-1)
    count, total = 0, 0.0
    for start in range(0, size, _CHUNK):
        part = slice(start, start + _CHUNK)
        alive = None if masks is None else _alive(masks[part])
        count += min(_CHUNK, size - start) if alive is None else int(alive.sum())
        if weights is not None:
            total += _l1(weights[part], alive)
    if not math.isfinite(total):
        raise NonFiniteError("holds NaN or infinity among its alive weights")
    return count, math.nan if weight is None else total


def _alive(mask: torch.Tensor) -> torch.Tensor:
    """The mask as int32 0 and 1."""
    import torch

    if mask.dtype == torch.float32:
        bits = (mask.contiguous() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
        ones = bits >> 29
        binary = torch.equal(ones * _ONE, bits)
    else:
        ones = (mask != 0).to(torch.int32)
        binary = torch.equal(ones.to(mask.dtype), mask)
    if not binary:
        raise CheckpointError("has a mask that holds something else than 0 and 1")
    return ones


def _l1(weight: torch.Tensor, alive: torch.Tensor | None) -> float:
    import torch

    if alive is None:
        return float(weight.abs().sum(dtype=torch.float64))
    if weight.dtype == torch.float32:
        kept = alive.neg().bitwise_and_(weight.contiguous().view(torch.int32))
        selected = kept.bitwise_and_(_MAGNITUDE).view(torch.float32)
    else:
        selected = torch.where(alive != 0, weight, 0).abs()
    return float(selected.sum(dtype=torch.float64))
