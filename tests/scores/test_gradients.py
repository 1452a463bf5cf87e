from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from library_cases import PRUNABLE, backward, net
from torch import nn

import impcore
from impcore import scores
from impcore.scores.gradients import summed, targets

from .cases import batches, loss, same, smooth, state_of


@pytest.mark.parametrize("score", ["snip", "grasp", "synflow"])
@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_no_trace(score: str, training: bool) -> None:
    model = smooth().train(training)
    model[2].train(not training)
    model(batches()[0][0]).sum().backward()
    before = state_of(model)
    given = {"data": (2, 3, 3)} if score == "synflow" else {"data": batches(), "loss": loss}
    found = [getattr(scores, score)(model, **given)]
    with torch.no_grad():
        found.append(getattr(scores, score)(model, **given))
    with torch.inference_mode():
        found.append(getattr(scores, score)(model, **given))
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert same(state_of(model), before)
    assert impcore.masks_of(model) is None


def test_an_error_in_the_loss_leaves_no_trace() -> None:
    model = smooth()
    before = state_of(model)

    def broken(model: nn.Module, batch: object) -> torch.Tensor:
        model(batches()[0][0])
        model.eval()
        raise RuntimeError("made up")

    with pytest.raises(RuntimeError, match="made up"):
        impcore.prune_global(model, 0.3, score="snip", data=[1], loss=broken)
    assert same(state_of(model), before)
    assert impcore.masks_of(model) is None


def test_targets_are_the_masked_parameters_or_the_default_scope() -> None:
    model = net()
    assert list(targets(model)) == list(targets(nn.DataParallel(model))) == PRUNABLE
    impcore.Masks(model, include=["conv*"])
    assert list(targets(model)) == PRUNABLE[:2]
    assert targets(nn.DataParallel(model))["conv1.weight"] is model.conv1.weight


class Wrapped(torch.Tensor):
    """Stands for DTensor, which no op of this module is for."""


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda t: t.as_subclass(Wrapped), "is a Wrapped"),
        (lambda t: t.to_sparse(), "has layout torch.sparse_coo"),
        (lambda t: t.to("meta"), "is on the meta device"),
    ],
    ids=["subclass", "sparse", "meta"],
)
@pytest.mark.parametrize("score", ["snip", "grasp", "synflow", "random"])
def test_a_weight_that_cannot_be_scored_any_more_is_named(
    score: str, change: Callable[[torch.Tensor], torch.Tensor], phrase: str
) -> None:
    model = smooth()
    impcore.Masks(model)
    model[4]._parameters["weight"] = change(model[4].weight.detach()).requires_grad_()
    given = {"random": (), "synflow": ((2, 3, 3),)}.get(score, (batches(), loss))
    with pytest.raises(NotImplementedError, match=rf"^4\.weight {phrase}"):
        getattr(scores, score)(model, *given)


def test_gradients_of_half_weights_are_summed_in_float32() -> None:
    model = net().bfloat16()
    data = [torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    expected = {name: torch.zeros(p.shape) for name, p in targets(model).items()}
    for x in data:
        model.zero_grad()
        model(x.bfloat16()).square().sum().backward()
        for name, total in expected.items():
            total += model.get_parameter(name).grad
    found = summed(model, data, lambda m, x: m(x.bfloat16()).square().sum())
    assert all(torch.equal(found[name], total) for name, total in expected.items())


def test_the_mode_is_the_callers() -> None:
    model = smooth()
    seen = []

    def watched(model: nn.Module, batch: tuple) -> torch.Tensor:
        seen.append(model.training)
        return loss(model, batch)

    for training in (True, False):
        model.train(training)
        scores.snip(model, batches(), watched)
    assert seen == [True, True, False, False]


@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_missing_batches_and_losses_that_are_none_are_refused(score: str) -> None:
    model = smooth()
    with pytest.raises(ValueError, match="holds no batch"):
        impcore.prune_global(model, 0.2, score=score, data=[], loss=loss)
    for wrong, kind in ((lambda m, b: m(b[0]), r"\(5, 3\)"), (lambda m, b: 3.0, "float")):
        with pytest.raises(TypeError, match=rf"scalar tensor, not {kind}"):
            impcore.prune_global(model, 0.2, score=score, data=batches(), loss=wrong)
    assert impcore.masks_of(model) is None


@pytest.mark.parametrize("score", [scores.snip, scores.grasp])
def test_data_and_losses_that_are_none_at_all_are_refused_by_name(
    score: Callable[..., object],
) -> None:
    for data in (None, 3):
        with pytest.raises(TypeError, match=f"^data must hold .*, not be a {type(data).__name__}$"):
            score(smooth(), data, loss)
    for wrong in (None, "loss"):
        found = f"^loss must be a function of .*, not a {type(wrong).__name__}$"
        with pytest.raises(TypeError, match=found):
            score(smooth(), batches(), wrong)


def test_a_parameter_that_the_loss_does_not_see_scores_nothing() -> None:
    model = net()
    model.unused = nn.Linear(3, 3)
    model.requires_grad_(True)
    backward(model)
    x = torch.randn(4, 3, 5, 5)
    assert not scores.snip(model, [x], lambda m, b: m(b).square().sum())["unused.weight"].any()


@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_a_loss_without_a_gradient_is_refused_instead_of_scoring_zero(score: str) -> None:
    model = smooth()
    with pytest.raises(ValueError, match="loss has no gradient: it was detached"):
        impcore.prune_global(
            model, 0.2, score=score, data=batches(), loss=lambda m, b: loss(m, b).detach()
        )
    assert impcore.masks_of(model) is None


@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_a_layer_that_was_frozen_after_its_masks_is_named(score: str) -> None:
    model = smooth()
    impcore.Masks(model)
    name, weight = next(iter(targets(model).items()))
    weight.requires_grad_(False)
    with pytest.raises(
        ValueError, match=rf"frozen parameters.*: {re.escape(name)}; make new masks"
    ):
        impcore.prune_global(model, 0.2, score=score, data=batches(), loss=loss)
    assert impcore.masks_of(model).remaining == impcore.masks_of(model).total
