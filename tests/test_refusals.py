"""The words of a refusal: every parameter, and nothing but those that are at fault."""

from __future__ import annotations

import torch
from library_cases import PRUNABLE, net

import impcore
from impcore.errors import LayerCollapseError, NonFiniteError
from impcore.outcome import COLLAPSED, TOO_MANY
from impcore.refusals import refusal


def test_a_collapse_names_what_would_be_left() -> None:
    masks = impcore.Masks(net())
    scratch = masks.bound().scratch
    scratch.copy_(masks.words)
    scratch[masks.plan.spans[1]] = 0
    scratch[masks.plan.spans[1].start] = 0b101
    error = refusal(COLLAPSED, masks, scores=None, each=None, min_keep=3)
    assert type(error) is LayerCollapseError
    assert "would be left in conv2.weight (2); nothing was pruned" in str(error)


def test_too_many_names_the_parameters_with_both_numbers() -> None:
    masks = impcore.Masks(net())
    sizes = list(masks.plan.numels)
    each = [sizes[0], sizes[1] + 1, sizes[2] + 5]
    error = refusal(TOO_MANY, masks, scores=None, each=each, min_keep=0)
    assert type(error) is ValueError
    assert f"conv2.weight ({each[1]} of {sizes[1]}), fc.weight ({each[2]} of" in str(error)
    assert "conv1" not in str(error)


def test_scores_are_blamed_only_where_weights_are_finite() -> None:
    model = net()
    masks = impcore.Masks(model)
    scores = {name: torch.zeros_like(model.get_parameter(name)) for name in PRUNABLE}
    scores["fc.weight"].view(-1)[:2] = torch.nan
    assert "scores of fc.weight (2)" in str(refused(masks, scores))
    with torch.no_grad():
        model.fc.weight.view(-1)[:2] = torch.inf
    assert "alive weights of fc.weight (2)" in str(refused(masks, scores))
    assert "alive weights of fc.weight (2)" in str(refused(masks, None))


def refused(masks: impcore.Masks, scores: dict[str, torch.Tensor] | None) -> Exception:
    error = refusal(2, masks, scores=scores, each=None, min_keep=0)
    assert type(error) is NonFiniteError
    return error
