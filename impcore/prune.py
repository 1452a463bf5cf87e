"""prune_global: exact pruning of a model in one call, by magnitude or any other score.

Invariant: exactly the k lowest alive weights go, under the total order of
`impcore.ops.topk_mask`; on any error model and masks are unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from impcore import ops, scores
from impcore.arena import Bound
from impcore.arguments import Arguments, ScoreFunction
from impcore.cuts import CUTS, Request, judged
from impcore.flow import Flow
from impcore.masks import Masks, masks_of
from impcore.ranking import by_magnitude, by_score
from impcore.refusals import refusal
from impcore.scope import patterns_of
from impcore.scores.gradients import Loss
from impcore.unwrap import unwrap


def prune_global(
    model: nn.Module,
    rate: float | None = None,
    *,
    count: int | Mapping[str, int] | None = None,
    scope: str = "global",
    score: str | Mapping[str, torch.Tensor] | ScoreFunction = "magnitude",
    data: Any = None,
    loss: Loss | None = None,
    seed: int | None = None,
    min_keep: int = 0,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    flow: Flow | None = None,
    sync: bool = True,
) -> Masks:
    """Prunes the lowest-scored remaining weights of a model, by default over all layers at once.

    The first call attaches `Masks` to the model; later ones prune what is left. Counts are those
    of torch.nn.utils.prune.global_unstructured with L1Unstructured; ties have a defined order.

    Args:
        model: any nn.Module; wrappers of DDP and torch.compile are looked through.
        rate: in [0, 1): round(rate * remaining) more weights are pruned (Python's rounding).
        count: or this many, at most as many as remain; with scope="layerwise" a mapping from
            parameter names, of which those that are left out lose nothing.
        scope: "global": all weights compete. "layerwise": `rate` holds in each parameter by itself.
            "random": as many go from each parameter as with "global", but which ones is drawn at
            random (the control that keeps the layers' densities).
        score: what weights are ranked by, the lowest going first: "magnitude" (|w|), "random",
            "snip", "grasp", "synflow" (see `impcore.scores`); a mapping from parameter names to
            floating tensors of their shapes, such as an `impcore.scores.Movement`; or a function
            from the model to one.
        data: batches for "snip" and "grasp"; for "synflow" the shape of one input.
        loss: for "snip" and "grasp": from the model and a batch to the batch's loss.
        seed: for score="random" and scope="random"; 0 unless given.
        min_keep: refuse to leave fewer weights than this in a parameter that loses some.
        include, exclude: fnmatch patterns on parameter names (see `Masks`). Given when the model
            has masks already, they must be those of the masks.
        flow: records M(n) of the weights as they are before this prune; at no extra read with the
            default scope and score.
        sync: read the outcome and raise at once. With False nothing is read back to the host, and
            errors of the outcome come at the next read, for example of `masks.remaining`.

    Returns:
        The live masks of the model.

    Raises:
        ValueError: an argument is out of range, missing or unused; include or exclude differ from
            the masks'; the flow belongs to another model; there is nothing to prune.
        NonFiniteError: alive weights or their scores hold NaN or infinity, by name and number.
        LayerCollapseError: a parameter would keep fewer than `min_keep`, by name.
        ModelChangedError: the model is not what its masks were made for.
        KeyError, TypeError, NotImplementedError, LayoutError, BackendError: scores that do not fit,
            or weights that cannot be masked.
    """
    arguments = Arguments(rate, count, scope, score, data, loss, seed, min_keep)
    arguments.check()
    if flow is not None and not isinstance(flow, Flow):
        raise TypeError(f"flow must be an impcore.Flow or None, not {type(flow).__name__}")
    inner = unwrap(model)
    masks = masks_of(inner)
    if flow is not None and flow.masks is not masks:
        raise ValueError("flow= was made for other masks than the model's; make a new impcore.Flow")
    if masks is not None:
        _check_patterns(masks, include=include, exclude=exclude)
        return _prune(inner, masks, masks.check_model(), arguments, flow, sync)
    masks = Masks(inner, include, exclude)
    try:
        return _prune(inner, masks, masks.bound(), arguments, flow, sync)
    except BaseException:
        masks.release()  # the model had none before, and nothing was pruned
        raise


def _prune(
    model: nn.Module,
    masks: Masks,
    bound: Bound,
    arguments: Arguments,
    flow: Flow | None,
    sync: bool,
) -> Masks:
    amount = arguments.amount(masks, sync)
    found = scores.evaluate(arguments.score, model, arguments.for_score())
    if found is not None:
        bound = masks.bound()  # the score may have moved what it looked at
    ranking = by_magnitude(bound) if found is None else by_score(masks, found)
    plan = masks.plan if flow is None else flow.plan
    request = Request(masks, bound, ranking, plan, seed=arguments.seed or 0, **amount)
    cut = CUTS[arguments.scope](request)
    status = judged(cut.status, request, arguments.min_keep)
    if sync and int(status) != 0:
        raise refusal(
            int(status), masks, scores=found, each=request.each, min_keep=arguments.min_keep
        )
    sums = cut.sums
    if flow is not None and sums is None:
        sums = ops.block_l1(plan, bound.weights, bound.words)
    masks.commit(bound, status, request.total, sync)
    if flow is not None and sums is not None:
        flow.append(sums, None if sync else status)
    return masks


def _check_patterns(masks: Masks, **given: Sequence[str] | None) -> None:
    for name, value in given.items():
        current = getattr(masks, name)
        if value is not None and patterns_of(value, name) != current:
            raise ValueError(
                f"{name}={list(value)} differs from {name}={current} of the model's masks; make "
                "new ones with impcore.Masks(model, include, exclude)"
            )
