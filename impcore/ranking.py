"""The k lowest weights by any score, exactly, from the kernel that ranks magnitudes.

`ops.topk_mask` orders 31-bit patterns, and a signed float32 has 32 bits, a float64 has 64. So a
score is cut into *digits*, most significant first: the first digit decides, and where it ties at
the edge of the cut, the next one. No bit of a score is lost. Invariant: the order is (score, tensor
index, storage offset), -0 ties with 0, and nothing is read back to the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from impcore import ops
from impcore.arena import Bound
from impcore.masks import Masks

_DIGIT_BITS = 30  # the patterns of floats below 2.0: finite, whatever the digit


@dataclass(frozen=True)
class Ranking:
    """What weights are ranked by.

    Attributes:
        digits: for each digit one tensor a parameter, in its storage order: what `ops.topk_mask`
            ranks by magnitude. A single digit may be the weights themselves.
        faults: int64 scalar: how many alive weights, or their scores, the digits do not show to be
            NaN or infinite; None if they show all.
    """

    digits: Sequence[Sequence[torch.Tensor]]
    faults: torch.Tensor | None = None

    def of(self, i: int) -> list[list[torch.Tensor]]:
        """The digits of the i-th parameter alone."""
        return [[digit[i]] for digit in self.digits]


def by_magnitude(bound: Bound) -> Ranking:
    """Ranks weights by their absolute value."""
    return Ranking([bound.weights])


def by_score(masks: Masks, scores: Mapping[str, torch.Tensor]) -> Ranking:
    """Ranks weights by scores: the lowest go first, negative ones before zero.

    Args:
        masks: of the model.
        scores: parameter name to a floating tensor of its shape, at least for all masked ones, on
            any device and in any memory format.

    Raises:
        KeyError, TypeError, ValueError: a score is missing or does not fit; the message names it.
    """
    weights = masks.weights
    named = zip(masks.names, weights, strict=True)
    found = [_score(name, weight, scores) for name, weight in named]
    wide = any(score.dtype == torch.float64 for score in found)
    dtype = torch.float64 if wide else torch.float32
    faults = torch.zeros((), dtype=torch.int64, device=masks.words.device)
    columns = []
    for i, (weight, score) in enumerate(zip(weights, found, strict=True)):
        values = torch.empty_like(weight, dtype=dtype).copy_(score)
        flat = values.as_strided((values.numel(),), (1,))
        finite = torch.isfinite(flat) & torch.isfinite(weight.as_strided(flat.shape, (1,)))
        faults += (~finite & masks.stored(i)).sum()
        columns.append(_digits(flat))
    return Ranking(list(zip(*columns, strict=True)), faults)


def select(
    plan: ops.Plan,
    digits: Sequence[Sequence[torch.Tensor]],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    k: int | torch.Tensor,
    workspace: torch.Tensor,
) -> ops.Selection:
    """`ops.topk_mask` over digits: sums are those of the first digit's magnitudes."""
    selection = ops.topk_mask(plan, digits[0], mask_in, mask_out, k, workspace)
    if len(digits) > 1:
        _split_ties(plan, digits, mask_in, mask_out, workspace)
    return selection


def _split_ties(
    plan: ops.Plan,
    digits: Sequence[Sequence[torch.Tensor]],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    workspace: torch.Tensor,
) -> None:
    """Of the weights that tie at the edge of the cut, prunes as many, but by the next digits."""
    pruned = mask_in & ~mask_out
    patterns = [digit.view(torch.int32) for digit in digits[0]]
    edge = _largest(plan, patterns, pruned)
    ties = [ops.bits.pack(pattern == edge) for pattern in patterns]
    tied = torch.cat(ties) & mask_in if ties else mask_in
    kept = torch.empty_like(mask_out)
    select(plan, digits[1:], tied, kept, ops.bits.count(pruned & tied), workspace)
    mask_out.copy_((mask_out & ~tied) | kept)


def _largest(plan: ops.Plan, patterns: Sequence[torch.Tensor], words: torch.Tensor) -> torch.Tensor:
    """The largest pattern where the mask is 1, or -1: int32 scalar on the device."""
    largest = torch.full((), -1, dtype=torch.int32, device=words.device)
    for pattern, span in zip(patterns, plan.spans, strict=True):
        if pattern.numel():
            inside = ops.bits.unpack(words[span], pattern.numel())
            largest = torch.maximum(largest, torch.where(inside, pattern, -1).max())
    return largest


def _digits(flat: torch.Tensor) -> list[torch.Tensor]:
    """The order of a float32 or float64 tensor [n] as two or three digits, float32 patterns [n]."""
    bits = 8 * flat.element_size()
    signed = flat.view(torch.int32 if bits == 32 else torch.int64)
    order = signed & ((1 << bits - 1) - 1)
    # As two's complement, negative floats would be the wrong way round, and -0 below 0: their
    # magnitude is negated, which is to flip all bits and add one. In place, as it may be large.
    sign = signed >> bits - 1
    order.bitwise_xor_(sign).sub_(sign).bitwise_xor_(-1 << bits - 1)
    del sign
    edges = [bits, *range(bits - _DIGIT_BITS, 0, -_DIGIT_BITS), 0]
    digits = ((order >> low).bitwise_and_((1 << high - low) - 1) for high, low in pairwise(edges))
    return [digit.to(torch.int32).view(torch.float32) for digit in digits]


def _score(name: str, weight: torch.Tensor, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if name not in scores:
        raise KeyError(f"the scores lack {name!r}")
    score = scores[name]
    if not isinstance(score, torch.Tensor) or not score.is_floating_point() or score.is_meta:
        kind = score.dtype if isinstance(score, torch.Tensor) else type(score).__name__
        raise TypeError(f"the score of {name} must be a floating tensor with data, not {kind}")
    if score.layout != torch.strided or score.shape != weight.shape:
        raise ValueError(
            f"the score of {name} has shape {tuple(score.shape)} and layout {score.layout}, the "
            f"parameter has {tuple(weight.shape)} and is dense"
        )
    return score.detach()
