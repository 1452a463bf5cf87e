"""prune_global: exact global magnitude pruning of a model in one call.

Invariant: exactly the k smallest alive weights go, under the total order of
`impcore.ops.topk_mask`; on any error model and masks are unchanged.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from torch import nn

from impcore import ops
from impcore.flow import Flow
from impcore.masks import Masks, masks_of
from impcore.scope import patterns_of
from impcore.unwrap import unwrap


def prune_global(
    model: nn.Module,
    rate: float | None = None,
    *,
    count: int | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    flow: Flow | None = None,
    sync: bool = True,
) -> Masks:
    """Prunes the smallest remaining weights of a model, over all its layers at once.

    The first call attaches `Masks` to the model; later ones prune what is left. Counts are those
    of torch.nn.utils.prune.global_unstructured with L1Unstructured; ties have a defined order.

    Args:
        model: any nn.Module; wrappers of DDP and torch.compile are looked through.
        rate: in [0, 1): round(rate * remaining) more weights are pruned (Python's rounding).
        count: or this many, at most as many as remain.
        include, exclude: fnmatch patterns on parameter names (see `Masks`). Given when the model
            has masks already, they must be those of the masks.
        flow: records M(n) of the weights as they are before this prune, at no extra read.
        sync: read the outcome and raise at once. With False nothing is read back to the host; NaN
            or infinity is reported at the next read, for example of `masks.remaining`.

    Returns:
        The live masks of the model.

    Raises:
        ValueError: rate or count is out of range; include or exclude differ from the masks'; the
            flow belongs to another model; there is nothing to prune.
        NonFiniteError: alive weights hold NaN or infinity; names and numbers are given.
        ModelChangedError: the model is not what its masks were made for.
        TypeError, NotImplementedError, LayoutError, BackendError: weights that cannot be masked.
    """
    check_amount(rate, count)
    inner = unwrap(model)
    masks = masks_of(inner)
    if flow is not None and (masks is None or flow.masks is not masks):
        raise ValueError("flow= was made for other masks than the model's; make a new impcore.Flow")
    if masks is not None:
        _check_patterns(masks, include=include, exclude=exclude)
        masks.check_model()
        return _prune(masks, rate, count, flow, sync)
    masks = Masks(inner, include, exclude)
    try:
        return _prune(masks, rate, count, flow, sync)
    except BaseException:
        masks.release()  # the model had none before, and nothing was pruned
        raise


def _prune(
    masks: Masks, rate: float | None, count: int | None, flow: Flow | None, sync: bool
) -> Masks:
    amount = _amount(masks.remaining if sync else masks.expected_remaining(), rate, count)
    plan = masks.plan if flow is None else flow.plan
    scratch, workspace = masks.spare()
    selection = ops.topk_mask(plan, masks.weights, masks.words, scratch, amount, workspace)
    if sync and int(selection.status) != 0:
        raise masks.non_finite("nothing was pruned")
    masks.commit(plan, selection, amount, sync)
    if flow is not None:
        flow.append(selection.sums_before, None if sync else selection.status)
    return masks


def check_amount(rate: float | None, count: int | None) -> None:
    """Raises ValueError unless exactly one of rate and count is given, and makes sense."""
    if (rate is None) == (count is None):
        raise ValueError(f"give exactly one of rate and count, got rate={rate!r}, count={count!r}")
    if rate is not None:
        number = not isinstance(rate, (bool, str)) and _is_real(rate)
        if not number or not 0 <= float(rate) < 1:
            raise ValueError(f"rate must be a number in [0, 1), got {rate!r}")
    if count is not None and (isinstance(count, bool) or not _is_index(count) or count < 0):
        raise ValueError(f"count must be an integer >= 0, got {count!r}")


def _amount(remaining: int, rate: float | None, count: int | None) -> int:
    if count is None:
        return round(float(rate or 0) * remaining)
    if count > remaining:
        raise ValueError(f"count={count} is above the number of remaining weights, {remaining}")
    return operator.index(count)


def _is_real(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_index(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _check_patterns(masks: Masks, **given: Sequence[str] | None) -> None:
    for name, value in given.items():
        current = getattr(masks, name)
        if value is not None and patterns_of(value, name) != current:
            raise ValueError(
                f"{name}={list(value)} differs from {name}={current} of the model's masks; make "
                "new ones with impcore.Masks(model, include, exclude)"
            )
