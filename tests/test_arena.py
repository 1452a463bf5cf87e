"""Packed bits against bool tensors in any layout."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from impcore import ops
from impcore.arena import Arena
from impcore.binding import Binding
from impcore.errors import LayoutError, ModelChangedError
from impcore.scope import find_scope


def arena_of(model: nn.Module) -> Arena:
    return Arena(Binding(model, find_scope(model, None, None)))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[nn.Module, list[tuple[int, ...]]]:
    """A stack of Linear and Conv2d layers of any size, and an order of dimensions for each."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        a, b = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        conv = draw(st.booleans())
        layers.append(nn.Conv2d(a, b, draw(st.sampled_from([1, 2]))) if conv else nn.Linear(a, b))
    orders = [tuple(draw(st.permutations(range(m.weight.dim())))) for m in layers]
    return nn.Sequential(*layers), orders


def permute(model: nn.Module, orders: list[tuple[int, ...]]) -> None:
    for layer, order in zip(model, orders, strict=True):
        back = [order.index(i) for i in range(len(order))]
        layer.weight.data = layer.weight.data.permute(order).contiguous().permute(back)


@settings(max_examples=60, deadline=None)
@given(case=layouts(), seed=st.integers(0, 2**32), early=st.booleans())
def test_masks_follow_the_layout(
    case: tuple[nn.Module, list[tuple[int, ...]]], seed: int, early: bool
) -> None:
    model, orders = case
    if early:
        permute(model, orders)
    arena = arena_of(model)
    assert all(bool(arena.read(i).all()) for i in range(len(orders)))
    rng = torch.Generator().manual_seed(seed)
    masks = [torch.rand(m.weight.shape, generator=rng) < 0.5 for m in model]
    for i, mask in enumerate(masks):
        arena.write(i, mask)
    packed = arena.packed()
    if not early:
        permute(model, orders)
    again = arena.packed()
    for i, (mask, layer) in enumerate(zip(masks, model, strict=True)):
        assert torch.equal(arena.read(i), mask)
        assert arena.read(i).stride() == layer.weight.stride()
        assert torch.equal(again[i], packed[i])
        words = arena.words[arena.plan.words[i] :]
        bits = [int(words[j // 32]) >> j % 32 & 1 for j in range(mask.numel())]
        ordered = torch.empty_like(layer.weight, dtype=torch.bool).copy_(mask)
        assert bits == ordered.as_strided((mask.numel(),), (1,)).int().tolist()
    ones = sum(bin(int(word) & 0xFFFFFFFF).count("1") for word in arena.words)
    assert ones == sum(int(mask.sum()) for mask in masks), "padding bits are 0"
    fresh = arena_of(model)
    names = [f"{i}.weight" for i in range(len(masks))]
    fresh.words.copy_(fresh.from_packed(dict(zip(names, packed, strict=True))))
    assert torch.equal(fresh.words, arena.words)


def test_bits_in_logical_order_are_not_reordered(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = arena_of(nn.Sequential(nn.Linear(5, 7), nn.Conv2d(3, 2, 2)))
    packed = {"0.weight": torch.full((5,), 7), "1.weight": torch.full((3,), 9)}
    packed = {name: tensor.to(torch.uint8) for name, tensor in packed.items()}
    packed["0.weight"][-1] = 0
    reordered = arena.from_packed(packed)
    monkeypatch.setattr(ops.bits, "permute", None)
    assert torch.equal(arena.from_packed(packed), reordered)


def test_scratch_is_kept_but_not_copied() -> None:
    arena = arena_of(nn.Sequential(nn.Linear(40, 40)))
    scratch, workspace = arena.spare()
    assert arena.spare() is arena.spare()
    assert arena.spare()[1] is workspace
    assert scratch.data_ptr() != arena.words.data_ptr()
    twin = copy.deepcopy(arena)
    assert twin._spare is None
    assert torch.equal(twin.words, arena.words)
    assert twin.words.data_ptr() != arena.words.data_ptr()


def test_a_failed_move_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Linear(4, 6))
    arena = arena_of(model)
    mask = torch.rand(4, 3, 2, 2) < 0.5
    arena.write(0, mask)
    good = model[1].weight.data
    model.to(memory_format=torch.channels_last)
    model[1].weight.data = torch.randn(6, 8)[:, ::2]
    with pytest.raises(LayoutError, match=r"1\.weight has strides"):
        arena.read(0)
    model[1].weight.data = good
    assert torch.equal(arena.read(0), mask)
    model[1].weight = nn.Parameter(good.to("meta"))
    with pytest.raises(ValueError, match=r"several devices: \['cpu', 'meta'\]"):
        arena.read(1)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_on_the_meta_device_is_refused_and_its_masks_are_kept(tied: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(5, 7))
    if tied:
        model[2].weight = model[0].weight
    arena = arena_of(model)
    mask = torch.rand(7, 5) < 0.5
    arena.write(0, mask)
    model.to("meta")
    for use in (lambda: arena.words, arena.packed, lambda: arena.read(0)):
        with pytest.raises(NotImplementedError, match=r"0\.weight is on the meta device"):
            use()
    model.to_empty(device="cpu")
    if tied:
        with pytest.raises(
            ModelChangedError, match=r"2\.weight was tied to 0\.weight, is tied to N"
        ):
            arena.read(0)
        model[2].weight = model[0].weight
    assert torch.equal(arena.read(0), mask)


def test_a_workspace_is_large_enough_for_a_backend_that_is_forced_later(monkeypatch) -> None:
    """The reference needs none."""
    arena = arena_of(nn.Sequential(nn.Linear(40, 40)))
    monkeypatch.setenv("IMPCORE_BACKEND", "reference")
    scratch, _ = arena.spare()
    monkeypatch.setenv("IMPCORE_BACKEND", "cpu")
    assert arena.spare()[1].numel() == ops.workspace_bytes(arena.plan, scratch.device)
    assert arena.spare() is arena.spare()
