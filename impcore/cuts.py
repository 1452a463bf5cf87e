"""What competes when weights are pruned: all of them, each tensor's own, or chance within tensors.

Each cut writes the masks' scratch arena and reports one status. Invariant: the number pruned is
exact, overall ("global", "random") or in every tensor ("layerwise"); nothing is committed here, and
nothing is read back to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from impcore import ops
from impcore.arena import Bound
from impcore.masks import Masks
from impcore.outcome import COLLAPSED
from impcore.ranking import Ranking, by_score, select
from impcore.scores.random import draw


@dataclass(frozen=True)
class Request:
    """What one prune asks for: exactly one of rate, total and each.

    Attributes:
        masks: of the model.
        bound: its weights and bits now.
        ranking: what its weights are ranked by.
        plan: the masks' layout, with the blocks whose sums are wanted.
        total: weights to prune from all tensors together.
        rate: or the fraction to prune of what remains in each tensor.
        each: or how many in each tensor.
        seed: of what is drawn at random.
    """

    masks: Masks
    bound: Bound
    ranking: Ranking
    plan: ops.Plan
    total: int | None = None
    rate: float | None = None
    each: Sequence[int] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Cut:
    """What a cut found.

    Attributes:
        status: int64 [1], as `ops.Selection` has it.
        sums: float64 [2, blocks]: sums of |m theta| and of m before the prune, if the selection
            read the weights themselves.
    """

    status: torch.Tensor
    sums: torch.Tensor | None = None


def _global(request: Request) -> Cut:
    """The lowest `total` weights of all tensors together."""
    bound, ranking = request.bound, request.ranking
    assert request.total is not None
    selection = select(
        *(request.plan, ranking.digits, bound.words, bound.scratch, request.total, bound.workspace)
    )
    read_weights = len(ranking.digits) == 1
    return Cut(selection.status, selection.sums_before if read_weights else None)


def _layerwise(request: Request) -> Cut:
    """The lowest `each[i]`, or round(rate * remaining_i), weights of every tensor i."""
    counts: Sequence[int | torch.Tensor]
    if request.each is not None:
        counts = request.each
    else:
        assert request.rate is not None
        # As Python's round on Python's float: float64, halves to even.
        alive = ops.bits.counts(request.masks.plan, request.bound.words)
        counts = list((alive.double() * request.rate).round().long())
    return Cut(_in_each(request, request.ranking, counts))


def _random(request: Request) -> Cut:
    """From each tensor as many as the global cut takes there, but drawn at random."""
    masks, bound = request.masks, request.bound
    cut = _global(request)
    counts = list(ops.bits.counts(masks.plan, bound.words & ~bound.scratch))
    named = dict(zip(masks.names, masks.weights, strict=True))
    _in_each(request, by_score(masks, draw(named, request.seed)), counts)
    return cut


CUTS: Mapping[str, Callable[[Request], Cut]] = {
    "global": _global,
    "layerwise": _layerwise,
    "random": _random,
}
"""Scope -> cut. A new scope is one more entry."""


def _in_each(
    request: Request, ranking: Ranking, counts: Sequence[int | torch.Tensor]
) -> torch.Tensor:
    """The lowest `counts[i]` of each tensor: the status, 0 or the first tensor's that is not."""
    words, out, plan = request.bound.words, request.bound.scratch, request.masks.plan
    status = torch.zeros(1, dtype=torch.int64, device=out.device)
    for i, (one, span) in enumerate(zip(plan.single, plan.spans, strict=True)):
        if one.total:
            workspace = ops.workspace(one, out.device)
            selection = select(one, ranking.of(i), words[span], out[span], counts[i], workspace)
            status = torch.where(status == 0, selection.status, status)
    return status


def judged(status: torch.Tensor, request: Request, min_keep: int) -> torch.Tensor:
    """The status of a cut: also not 0 if the ranking has faults or a tensor would collapse."""
    faults = request.ranking.faults
    if faults is not None:
        status = torch.where(status == 0, faults, status)
    if min_keep:
        collapse = collapsing(request.masks, min_keep).any()
        status = torch.where((status == 0) & collapse, COLLAPSED, status)
    return status


def collapsing(masks: Masks, min_keep: int) -> torch.Tensor:
    """Which tensors would lose weights and keep fewer than `min_keep`: bool [tensors]."""
    bound = masks.bound()
    before = ops.bits.counts(masks.plan, bound.words)
    after = ops.bits.counts(masks.plan, bound.scratch)
    return (after < before) & (after < min_keep)


def kept(masks: Masks) -> dict[str, int]:
    """How many weights each parameter would keep (a host read)."""
    counts = ops.bits.counts(masks.plan, masks.bound().scratch).tolist()
    return dict(zip(masks.names, counts, strict=True))
