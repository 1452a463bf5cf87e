"""The errors of prunes that were refused by their status. Invariant: they name the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from impcore.cuts import collapsing, kept
from impcore.errors import LayerCollapseError, NonFiniteError
from impcore.masks import Masks
from impcore.outcome import COLLAPSED, TOO_MANY, non_finite

_NOTHING = "nothing was pruned"


def refusal(
    status: int,
    masks: Masks,
    *,
    scores: Mapping[str, torch.Tensor] | None,
    each: Sequence[int] | None,
    min_keep: int,
) -> Exception:
    """The error of a prune whose status is not 0, and whose cut is still in the scratch arena."""
    if status == COLLAPSED:
        return _collapse(masks, min_keep)
    if status == TOO_MANY and each is not None:
        return _too_many(masks, each)
    return _unranked(masks, scores) or non_finite(masks, _NOTHING)


def _collapse(masks: Masks, min_keep: int) -> LayerCollapseError:
    left = kept(masks)
    flags = zip(masks.names, collapsing(masks, min_keep).tolist(), strict=True)
    listed = ", ".join(f"{name} ({left[name]})" for name, bad in flags if bad)
    return LayerCollapseError(
        f"layer collapse: fewer than min_keep={min_keep} weights would be left in {listed}; "
        f"{_NOTHING}: prune less, leave them out with exclude=, or lower min_keep"
    )


def _too_many(masks: Masks, each: Sequence[int]) -> ValueError:
    asked = {name: (n, int(masks[name].sum())) for name, n in zip(masks.names, each, strict=True)}
    listed = ", ".join(f"{name} ({n} of {left})" for name, (n, left) in asked.items() if n > left)
    return ValueError(f"count is above the number of remaining weights in {listed}; {_NOTHING}")


def _unranked(masks: Masks, scores: Mapping[str, torch.Tensor] | None) -> NonFiniteError | None:
    """The error of scores that are not finite where the weights are, if there are any."""
    listed = []
    for name, weight in zip(masks.names, masks.weights, strict=True):
        ranked = masks[name] & torch.isfinite(weight)
        if scores is not None:
            count = int((~torch.isfinite(scores[name].to(weight.device)) & ranked).sum())
            listed += [f"{name} ({count})"] if count else []
    if not listed:
        return None
    return NonFiniteError(f"NaN or infinity among the scores of {', '.join(listed)}; {_NOTHING}")
