"""weight_orig and weight_mask, both ways, to the bit; refusals change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.utils.prune as torch_prune
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, Net, backward, bits, net, nets, regrown
from torch import nn

import impcore
from impcore import Masks


@settings(max_examples=25, deadline=None)
@given(model=nets(), rate=st.floats(0, 0.99))
def test_there_and_back_nothing_changes(model: nn.Module, rate: float) -> None:
    masks = impcore.prune_global(model, rate)
    digest, names = masks.hash, [name for name, _ in model.named_parameters()]
    before = {name: bits(p) for name, p in model.named_parameters()}
    objects = {id(p) for p in model.parameters()}
    masks.to_torch_prune(model)
    assert impcore.masks_of(model) is None
    assert {id(p) for p in model.parameters()} == objects
    for name in PRUNABLE:
        layer = model.get_submodule(name.removesuffix(".weight"))
        assert torch.equal(bits(layer.weight_orig), before[name])
        assert torch.equal(layer.weight_mask != 0, masks[name])
        assert torch_prune.is_pruned(layer)
    back = Masks.from_torch_prune(model)
    assert impcore.masks_of(model) is back
    assert back.hash == digest
    assert back.remaining == masks.remaining
    assert [name for name, _ in model.named_parameters()] == names
    assert {id(p) for p in model.parameters()} == objects
    assert all(torch.equal(bits(p), before[name]) for name, p in model.named_parameters())
    assert not torch_prune.is_pruned(model)


def test_their_rounds_go_on_with_ours_and_an_optimiser_stays_valid() -> None:
    theirs = net()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    pairs = [(theirs.conv1, "weight"), (theirs.fc, "weight")]
    for amount in (0.3, 0.2):
        torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=amount)
    backward(theirs)
    optimizer.step()  # dead weights of weight_orig drift
    theirs(torch.randn(2, 3, 5, 5))  # their hook computes the weight
    wanted = {name: theirs.get_submodule(name).weight.detach().clone() for name in ("conv1", "fc")}
    kept = {name: theirs.get_submodule(name).weight_mask.bool() for name in ("conv1", "fc")}
    masks = Masks.from_torch_prune(nn.DataParallel(theirs))
    assert masks.names == ["conv1.weight", "fc.weight"]
    for name, weight in wanted.items():
        assert torch.equal(masks[f"{name}.weight"], kept[name])
        assert torch.equal(theirs.get_submodule(name).weight, weight)
    assert regrown(masks) == 0
    optimizer.zero_grad()
    backward(theirs, 1)
    before = bits(theirs.fc.weight)
    optimizer.step()
    assert not torch.equal(bits(theirs.fc.weight), before)
    assert regrown(masks) == 0
    remaining = masks.remaining
    assert impcore.prune_global(theirs, 0.2).remaining == remaining - round(0.2 * remaining)


def test_another_model_keeps_its_own_weights() -> None:
    masks = impcore.prune_global(net(), 0.5)
    other = net(1)
    own = bits(other.fc.weight)
    impcore.Masks(other)
    masks.to_torch_prune(other)
    assert impcore.masks_of(other) is None
    assert torch.equal(bits(other.fc.weight_orig), own)
    assert torch.equal(other.fc.weight_mask.bool(), masks["fc.weight"])
    assert torch.equal(other.fc.weight != 0, masks["fc.weight"])
    assert masks.remaining == masks.total - round(0.5 * masks.total)


def tied() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    model[1].weight = model[0].weight
    return model


def test_tied_weights_stay_tied() -> None:
    model = tied()
    masks = impcore.prune_global(model, 0.5)
    digest = masks.hash
    masks.to_torch_prune(model)
    assert model[0].weight_orig is model[1].weight_orig
    assert torch.equal(model[0].weight_mask, model[1].weight_mask)
    back = Masks.from_torch_prune(model)
    assert model[0].weight is model[1].weight
    assert back.hash == digest


def prune_bias(model: Net) -> None:
    torch_prune.l1_unstructured(model.fc, "bias", 2)


def prune_norm(model: Net) -> None:
    torch_prune.l1_unstructured(model.norm, "weight", 2)


def freeze(model: Net) -> None:
    model.fc.weight_orig.requires_grad_(False)


def soften(model: Net) -> None:
    model.fc.weight_mask[0, 0] = 0.5


def widen(model: Net) -> None:
    model.double()


def untie(model: nn.Module) -> None:
    model.again = nn.Linear(5, 7)
    model.again.weight = nn.Parameter(torch.zeros(7, 5))
    torch_prune.l1_unstructured(model.again, "weight", 2)
    model.again.weight_orig = model.fc.weight_orig


def embed(model: nn.Module) -> None:
    model.words = nn.Embedding(7, 5)
    model.words.weight = model.fc.weight_orig


@pytest.mark.parametrize(
    ("change", "error", "phrase"),
    [
        (prune_bias, ValueError, r"prunes fc\.bias of a Linear"),
        (prune_norm, ValueError, r"prunes norm\.weight of a BatchNorm2d"),
        (freeze, ValueError, r"fc\.weight is frozen"),
        (soften, ValueError, r"mask of fc\.weight is not of its shape, or not of 0 and 1"),
        (widen, TypeError, r"float64"),
        (untie, ValueError, r"fc\.weight and again\.weight are tied, but have different masks"),
        (embed, ValueError, r"fc\.weight' matches no prunable parameter"),
    ],
)
def test_what_cannot_be_taken_over_changes_nothing(
    change: Callable[[Net], None], error: type[Exception], phrase: str
) -> None:
    model = net()
    torch_prune.l1_unstructured(model.conv1, "weight", 10)
    torch_prune.l1_unstructured(model.fc, "weight", 10)
    change(model)
    before = copy.deepcopy(model.state_dict())
    hooks = {name: len(m._forward_pre_hooks) for name, m in model.named_modules()}
    with pytest.raises(error, match=phrase):
        Masks.from_torch_prune(model)
    state = model.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert {name: len(m._forward_pre_hooks) for name, m in model.named_modules()} == hooks
    assert impcore.masks_of(model) is None
    dtype = model.fc.bias_orig.dtype if change is prune_bias else model.fc.bias.dtype
    model(torch.randn(2, 3, 5, 5, dtype=dtype)).sum().backward()
    assert model.conv1.weight_orig.grad is not None


def test_nothing_pruned_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"nothing in Net is pruned by torch\.nn\.utils\.prune"):
        Masks.from_torch_prune(net())


@pytest.mark.parametrize(
    ("model", "phrase"),
    [
        (nn.Linear(3, 3), r"conv1\.weight is not the weight of a layer"),
        (Net(width=9), r"conv1\.weight has shape \(9, 3, 3, 3\), its mask \(6, 3, 3, 3\)"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_unchanged(model: nn.Module, phrase: str) -> None:
    masks = impcore.prune_global(net(), 0.5)
    live = impcore.Masks(model)
    with pytest.raises(ValueError, match=phrase):
        masks.to_torch_prune(model)
    assert impcore.masks_of(model) is live
    pruned = net()
    torch_prune.identity(pruned.fc, "weight")
    with pytest.raises(ValueError, match=r"fc\.weight is no parameter of the model, or is comp"):
        masks.to_torch_prune(pruned)
    assert not torch_prune.is_pruned(pruned.conv1)


def test_a_weight_that_cannot_be_multiplied_by_a_mask_is_refused_before_masks_are_released() -> (
    None
):
    model, other = net(), net(1)
    masks = impcore.prune_global(model, 0.5)
    theirs = impcore.prune_global(other, 0.5)
    other.fc.weight = nn.Parameter(other.fc.weight.detach().to_sparse())
    with pytest.raises(NotImplementedError, match=r"^fc\.weight has layout torch\.sparse_coo"):
        masks.to_torch_prune(other)
    assert impcore.masks_of(other) is theirs
    assert not other.conv1._forward_pre_hooks
