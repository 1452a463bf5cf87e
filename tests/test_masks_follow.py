"""Masks follow their model: conversions, copies, replaced and released ones."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, backward, net, random_masks, regrown, same_bits, snapshot
from torch import nn

import impcore
from impcore.errors import LayoutError


@pytest.mark.parametrize("use", ["set", "load", "rewind", "apply"])
def test_float64_is_refused_at_use_and_nothing_changes(use: str) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    state = impcore.prune_global(net(1), 0.7).state_dict()
    digest, words = masks.hash, masks.words.clone()
    model.double()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    actions = {
        "set": lambda: masks.__setitem__("fc.weight", torch.zeros(7, 5, dtype=torch.bool)),
        "load": lambda: masks.load_state_dict(state),
        "rewind": lambda: masks.rewind(model.state_dict()),
        "apply": masks.apply,
    }
    with pytest.raises(TypeError, match=r"float64.*\.float\(\)"):
        actions[use]()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert torch.equal(masks.words, words)
    assert masks.hash == digest
    model.float()
    impcore.prune_global(model, 0.5)
    assert regrown(masks) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_conversions_keep_the_masks(seed: int, steps: list[int]) -> None:
    model = net(seed % 1000)
    masks = random_masks(model, seed)
    wanted = {name: masks[name].contiguous() for name in masks}
    conversions = [
        lambda: model.to(memory_format=torch.channels_last),
        lambda: model.to(memory_format=torch.contiguous_format),
        lambda: model.half(),
        lambda: model.bfloat16(),
        lambda: model.float(),
    ]
    rng = torch.Generator().manual_seed(seed)
    for step in steps:
        conversions[step]()
        assert all(torch.equal(masks[name], wanted[name]) for name in masks)
        name = PRUNABLE[step % 3]
        wanted[name] = torch.rand(wanted[name].shape, generator=rng) < 0.5
        masks[name] = wanted[name]
        assert masks.remaining == sum(int(m.sum()) for m in wanted.values())
        with torch.no_grad():
            for p in masks.parameters:
                p.add_(1)
        masks.apply()
        for n, p in zip(masks.names, masks.parameters, strict=True):
            assert torch.equal(p.detach() == 0, ~wanted[n])


def test_a_layout_with_gaps_is_refused_at_use() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    model.fc.weight.data = torch.randn(7, 10)[:, ::2]
    with pytest.raises(LayoutError, match=r"fc\.weight has strides \(10, 2\)"):
        masks["fc.weight"]
    with pytest.raises(LayoutError, match=r"fc\.weight"):
        impcore.prune_global(model, 0.1)
    model.fc.weight.data = torch.randn(1, 5).expand(7, 5)
    with pytest.raises(LayoutError, match=r"fc\.weight has strides \(0, 1\)"):
        masks.apply()


@pytest.mark.parametrize("use", ["prune", "apply", "step"])
def test_weights_without_memory_are_refused_by_name_and_not_taken_for_one(use: str) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    model.to("meta")
    actions = {
        "prune": lambda: impcore.prune_global(model, 0.5),
        "apply": masks.apply,
        "step": torch.optim.SGD(model.parameters(), lr=0.1).step,
    }
    with pytest.raises(NotImplementedError, match=r"conv1\.weight is on the meta device"):
        actions[use]()


@pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support is in beta")
@pytest.mark.parametrize("layout", ["sparse", "sparse_csr", "sparse_csc"])
@pytest.mark.parametrize("use", ["prune", "apply", "step", "read", "state_dict", "Masks"])
def test_a_weight_that_became_sparse_is_refused_by_name_and_its_mask_is_kept(
    layout: str, use: str
) -> None:
    model, other = net(), net()
    masks = impcore.prune_global(model, 0.5)
    dense, before = model.fc.weight, masks.hash
    model.fc.weight = nn.Parameter(getattr(dense.detach(), f"to_{layout}")())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    actions = {
        "prune": lambda: impcore.prune_global(model, 0.5),
        "apply": masks.apply,
        "step": optimizer.step,
        "read": lambda: masks["fc.weight"],
        "state_dict": masks.state_dict,
        "Masks": lambda: impcore.Masks(model),
    }
    with pytest.raises(NotImplementedError, match=r"fc\.weight has layout torch\.sparse_"):
        actions[use]()
    impcore.prune_global(other, 0.5)  # whom the other model's weights do not concern
    model.fc.weight = dense
    assert masks.hash == before


def test_state_dict_keys_never_change_and_load_elsewhere() -> None:
    model, fresh = net(), net(1)
    keys = list(model.state_dict())
    masks = impcore.prune_global(model, 0.5)
    assert list(model.state_dict()) == keys
    assert [n for n, _ in model.named_buffers()] == [n for n, _ in fresh.named_buffers()]
    assert [n for n, _ in model.named_modules()] == [n for n, _ in fresh.named_modules()]
    fresh.load_state_dict(model.state_dict())
    assert same_bits(fresh, snapshot(model))
    assert impcore.masks_of(fresh) is None
    model.load_state_dict(net(2).state_dict())
    masks.apply()
    assert regrown(masks) == 0


def deep(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("duplicate", [deep, saved, pickled, lambda m: deep(saved(deep(m)))])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_copy_has_masks_of_its_own(duplicate: object, channels_last: bool) -> None:
    model = net()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    masks = impcore.prune_global(model, 0.5)
    twin = duplicate(model)
    copied = impcore.masks_of(twin)
    assert copied is not masks
    assert copied.hash == masks.hash
    assert copied.remaining == masks.remaining
    for name, p in zip(copied.names, copied.parameters, strict=True):
        assert p is twin.get_parameter(name)
    before, digest = snapshot(model), masks.hash
    assert impcore.prune_global(twin, 0.5) is copied
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for seed in range(2):
        backward(twin, seed)
        optimizer.step()
    assert regrown(copied) == 0
    assert same_bits(model, before)
    assert masks.hash == digest
    assert masks.remaining == masks.total - round(0.5 * masks.total)
    copied.release()
    assert impcore.masks_of(model) is masks


def test_a_released_or_orphaned_copy_still_works() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    alone = copy.deepcopy(masks)
    assert alone.hash == masks.hash
    # Its model died with the copying, and may live on as the parameters of another.
    assert alone.words_of(alone.parameters) == masks.words_of(masks.parameters)
    masks.release()
    assert copy.deepcopy(masks).hash == masks.hash
    assert masks.words_of(masks.parameters) == [-1] * 3


def test_new_masks_replace_the_old() -> None:
    model = net()
    old = impcore.prune_global(model, 0.5)
    digest = old.hash
    new = impcore.Masks(model, include=["conv*"])
    assert impcore.masks_of(model) is new
    assert new.remaining == new.total
    assert old.hash == digest
    assert old.words_of(old.parameters) == [-1] * 3
    old.release()
    assert impcore.masks_of(model) is new
    with pytest.raises(ValueError, match="matches no prunable"):
        impcore.Masks(model, include=["nope"])
    assert impcore.masks_of(model) is new


def test_bits_follow_weights_that_came_back_to_where_the_last_prune_saw_them() -> None:
    """Between two prunes the same memory, in between another layout that the bits followed."""
    model = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3, bias=False))
    for rate in (0.3, 0.0):
        masks = impcore.prune_global(model, rate)
    weight, kept = model[0].weight, masks["0.weight"]
    data = weight.data
    weight.data = data.to(memory_format=torch.channels_last)
    assert torch.equal(masks["0.weight"], kept)
    weight.data = data
    impcore.prune_global(model, 0.0)
    assert torch.equal(masks["0.weight"], kept)
    assert torch.equal(weight != 0, kept)
