"""The mapping, its packed form, and rewinding."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import (
    PRUNABLE,
    Net,
    bits,
    fill,
    net,
    nets,
    random_masks,
    regrown,
    same_bits,
    snapshot,
)
from torch import nn

import impcore
from impcore import ops


def test_a_mapping_of_all_ones_at_first() -> None:
    model = net()
    masks = impcore.Masks(model)
    assert isinstance(masks, Mapping)
    assert masks.names == list(masks) == list(masks.keys()) == PRUNABLE
    assert [id(p) for p in masks.parameters] == [id(model.get_parameter(n)) for n in PRUNABLE]
    assert len(masks) == 3
    assert all(bool(mask.all()) for mask in masks.values())
    assert masks.total == masks.remaining == sum(model.get_parameter(n).numel() for n in PRUNABLE)
    assert masks.density == 1.0
    assert "fc.weight" in masks
    assert "fc.bias" not in masks
    assert 3 not in masks
    assert masks.get("nope") is None
    with pytest.raises(KeyError, match=r"fc\.bias"):
        masks["fc.bias"]
    with pytest.raises(KeyError, match=r"fc\.bias"):
        masks["fc.bias"] = torch.ones(7, dtype=torch.bool)
    assert masks == masks
    assert masks != impcore.Masks(net())
    assert len({masks}) == 1
    assert (
        repr(masks)
        == f"Masks(3 parameters, {masks.total} of {masks.total} weights remain, density 100.00%)"
    )
    masks.names.clear()
    assert masks.names == PRUNABLE


@settings(max_examples=50, deadline=None)
@given(model=nets(), seed=st.integers(0, 2**32), density=st.sampled_from([0.0, 0.1, 0.9, 1.0]))
def test_setting_and_getting(model: nn.Module, seed: int, density: float) -> None:
    masks = impcore.Masks(model)
    rng = torch.Generator().manual_seed(seed)
    before = snapshot(model)
    wanted = {}
    for name, p in zip(masks.names, masks.parameters, strict=True):
        wanted[name] = torch.rand(p.shape, generator=rng) < density
        masks[name] = wanted[name]
    got = dict(masks)
    for name, p in zip(masks.names, masks.parameters, strict=True):
        assert got[name].dtype == torch.bool
        assert got[name].shape == p.shape
        assert torch.equal(got[name], wanted[name])
        assert torch.equal(bits(p), torch.where(wanted[name], before[name], 0))
    assert masks.remaining == sum(int(m.sum()) for m in wanted.values())
    assert masks.density == masks.remaining / masks.total
    for mask in got.values():
        mask.logical_not_()  # a copy
    assert all(torch.equal(masks[name], wanted[name]) for name in masks)


@pytest.mark.parametrize(
    ("value", "error", "phrase"),
    [
        (torch.ones(7, 5), TypeError, "bool tensor, not torch.float32"),
        (torch.ones(7, 5, dtype=torch.uint8), TypeError, "not torch.uint8"),
        (np.ones((7, 5), dtype=bool), TypeError, "not ndarray"),
        (True, TypeError, "not bool"),
        (torch.ones(5, 7, dtype=torch.bool), ValueError, r"shape \(7, 5\), not \(5, 7\)"),
        (torch.ones(35, dtype=torch.bool), ValueError, r"not \(35,\)"),
        (torch.ones((), dtype=torch.bool), ValueError, r"not \(\)"),
    ],
)
def test_a_wrong_mask_changes_nothing(value: object, error: type[Exception], phrase: str) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.4)
    before, digest = snapshot(model), masks.hash
    with pytest.raises(error, match=phrase):
        masks["fc.weight"] = value
    assert same_bits(model, before)
    assert masks.hash == digest


def test_a_mask_may_be_expanded_transposed_or_its_own_copy() -> None:
    model = net()
    masks = impcore.Masks(model)
    masks["fc.weight"] = torch.tensor(False).expand(7, 5)
    assert not masks["fc.weight"].any()
    masks["fc.weight"] = (torch.arange(35).reshape(5, 7) % 2 == 0).t()
    assert torch.equal(masks["fc.weight"], (torch.arange(35).reshape(5, 7) % 2 == 0).t())
    digest = masks.hash
    masks["fc.weight"] = masks["fc.weight"]
    assert masks.hash == digest


def test_scalar_like_odd_and_empty_parameters() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(0, 3), nn.Linear(31, 3), nn.Linear(32, 1))
    masks = impcore.Masks(model)
    assert masks.total == 1 + 0 + 93 + 32
    assert masks["1.weight"].shape == (3, 0)
    state = masks.state_dict()
    assert [len(v) for v in state.values()] == [1, 0, 12, 4]
    impcore.prune_global(model, 0.5)
    again = impcore.Masks(copy.deepcopy(model))
    again.load_state_dict(masks.state_dict())
    assert again.hash == masks.hash
    empty = impcore.prune_global(nn.Linear(0, 3), 0.5)
    assert (empty.total, empty.remaining, empty.density) == (0, 0, 1.0)
    assert len(empty.hash) == 64


@settings(max_examples=30, deadline=None)
@given(model=nets(), seed=st.integers(0, 2**32))
def test_packed_masks_are_in_logical_order_and_round_trip(model: nn.Module, seed: int) -> None:
    masks = random_masks(model, seed)
    state = masks.state_dict()
    assert list(state) == masks.names
    for name, packed in state.items():
        expected = np.packbits(masks[name].contiguous().numpy().ravel(), bitorder="little")
        assert packed.dtype == torch.uint8
        assert np.array_equal(packed.numpy(), expected)
    words = masks.words.clone()
    for packed in state.values():
        packed.fill_(255)  # a copy
    assert torch.equal(masks.words, words)
    other = copy.deepcopy(model)
    fill(other, seed, "normal")
    other.to(memory_format=torch.channels_last)
    fresh = impcore.Masks(other)
    fresh.load_state_dict(masks.state_dict())
    assert all(torch.equal(fresh[name], masks[name]) for name in masks)
    assert fresh.remaining == masks.remaining
    assert fresh.hash == masks.hash
    assert regrown(fresh) == 0


def broken_states(good: dict[str, torch.Tensor]) -> list[tuple[dict[str, object], str]]:
    bias = {**good, "fc.bias": torch.zeros(1, dtype=torch.uint8)}
    short = {name: value for name, value in good.items() if name != "conv1.weight"}
    padding = good["fc.weight"].clone()
    padding[-1] |= 1 << 3  # 35 weights leave bits 3 to 7 of the last byte
    return [
        (short, r"missing: \['conv1.weight'\]"),
        (bias, r"unexpected: \['fc.bias'\]"),
        ({}, "missing"),
        (
            {**good, "fc.weight": good["fc.weight"][:-1]},
            r"fc\.weight must be uint8 of shape \(5,\)",
        ),
        ({**good, "fc.weight": good["fc.weight"][None]}, r"shape \(1, 5\)"),
        ({**good, "fc.weight": good["fc.weight"].view(torch.int8)}, "not torch.int8"),
        ({**good, "fc.weight": good["fc.weight"].float()}, "not torch.float32"),
        ({**good, "fc.weight": good["fc.weight"].numpy()}, "must be a tensor"),
        ({**good, "fc.weight": padding}, "padding bits set beyond 35 weights"),
    ]


def test_a_broken_state_dict_changes_nothing() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.4)
    before, digest = snapshot(model), masks.hash
    for state, phrase in broken_states(impcore.prune_global(net(1), 0.7).state_dict()):
        with pytest.raises(ValueError, match=phrase):
            masks.load_state_dict(state)
        assert same_bits(model, before)
        assert masks.hash == digest
        assert masks.remaining == sum(int(m.sum()) for m in masks.values())


def test_hashes_tell_masks_and_names_apart_but_not_formats() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    digest = masks.hash
    seen = {digest}
    for convert in (
        lambda: model.to(memory_format=torch.channels_last),
        lambda: model.half(),
        lambda: model.bfloat16(),
        lambda: model.to(memory_format=torch.contiguous_format),
        lambda: model.float(),
    ):
        convert()
        assert masks.hash == digest
    flip = masks["fc.weight"]
    flip[3, 2] = not flip[3, 2]
    masks["fc.weight"] = flip
    assert masks.hash not in seen
    ones = {
        impcore.Masks(nn.ModuleDict(layers)).hash
        for layers in (
            {"a": nn.Linear(4, 2)},
            {"b": nn.Linear(4, 2)},
            {"a": nn.Linear(2, 4)},
            {"a": nn.Linear(8, 1)},
            {"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)},
        )
    }
    assert len(ones) == 5


def with_odd_bits(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that holds -0, infinities, NaN payloads and subnormals in some places."""
    integer = bits(tensor)
    top = -1 << (8 * tensor.element_size() - 1)
    nan = {torch.float32: 0x7FC12345, torch.bfloat16: 0x7FC5, torch.float16: 0x7E05}[tensor.dtype]
    odd = [top, nan, nan + top, 1, top + 3]
    flat = integer.view(-1)
    for i in range(0, flat.numel(), 3):
        flat[i] = odd[i // 3 % len(odd)]
    return integer.view(tensor.dtype)


@settings(max_examples=40, deadline=None)
@given(model=nets(), seed=st.integers(0, 2**32), contiguous=st.booleans())
def test_rewinding_is_exact_to_the_bit(model: nn.Module, seed: int, contiguous: bool) -> None:
    masks = random_masks(model, seed)
    source = {}
    for name, p in model.named_parameters():
        source[name] = with_odd_bits(p)
        if not contiguous:
            source[name] = torch.empty_like(p, requires_grad=False).copy_(source[name])
    kept = {name: bits(value) for name, value in source.items()}
    untouched = {n: bits(p) for n, p in model.named_parameters() if n not in masks}
    masks.rewind(source)
    for name, p in zip(masks.names, masks.parameters, strict=True):
        assert torch.equal(bits(p), torch.where(masks[name], kept[name], 0))
    assert all(torch.equal(bits(model.get_parameter(n)), b) for n, b in untouched.items())
    assert all(torch.equal(bits(source[name]), kept[name]) for name in source)


@pytest.mark.parametrize(
    ("change", "error", "phrase"),
    [
        (lambda s: s.pop("fc.weight"), KeyError, "lacks 'fc.weight'"),
        (lambda s: s.update({"fc.weight": torch.ones(5, 7)}), ValueError, r"shape \(5, 7\)"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5).double()}), TypeError, "float64"),
        (lambda s: s.update({"fc.weight": np.ones((7, 5))}), TypeError, "not ndarray"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5).to_sparse()}), TypeError, "sparse"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5, device="meta")}), TypeError, "dense"),
    ],
)
def test_a_wrong_rewind_source_changes_nothing(
    change: object, error: type[Exception], phrase: str
) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    source = {name: torch.zeros_like(p) for name, p in net(1).state_dict().items()}
    change(source)
    before = snapshot(model)
    with pytest.raises(error, match=phrase):
        masks.rewind(source)
    assert same_bits(model, before)


def test_what_is_trained_along_is_no_rewind_source() -> None:
    model = net()
    start = model.state_dict()  # no copy
    masks = impcore.prune_global(model, 0.5)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"of conv1.weight is the parameter itself.*deepcopy"):
        masks.rewind(start)
    assert same_bits(model, before)
    masks.rewind(copy.deepcopy(start))
    assert same_bits(model, before)


def test_a_rewind_bumps_versions_and_keeps_the_graph_honest() -> None:
    layer = nn.Linear(3, 3)
    masks = impcore.Masks(layer)
    version = layer.weight._version
    masks.rewind({"weight": torch.zeros(3, 3)})
    assert layer.weight._version > version


def test_tied_parameters_have_one_mask_under_each_name() -> None:
    one = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    one[1].weight = one[0].weight
    two = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    two[1].weight = nn.Parameter(two[0].weight.data)
    for model in (one, two):
        masks = impcore.prune_global(model, 0.5)
        assert masks.names == ["0.weight", "2.weight"]
        assert masks.total == 36 + 12
        assert masks.remaining == 24
        assert "1.weight" in masks
        assert torch.equal(masks["1.weight"], masks["0.weight"])
        assert torch.equal(bits(model[1].weight), bits(model[0].weight))
        mask = torch.eye(6, dtype=torch.bool)
        masks["1.weight"] = mask
        assert torch.equal(masks["0.weight"], mask)
        assert masks.remaining == 6 + int(masks["2.weight"].sum())
        parameters = list({id(p): p for p in model.parameters()}.values())
        assert len(parameters) == 5 + (model is two)
        words = masks.words_of([model[0].weight, model[1].weight, model[0].bias])
        assert words == [0, 0, -1]
        optimizer = torch.optim.SGD([model[1].weight], lr=1.0)
        model[1].weight.grad = torch.ones(6, 6)
        optimizer.step()
        assert regrown(masks) == 0
        masks.rewind({"0.weight": torch.full((6, 6), -math.pi), "2.weight": torch.ones(2, 6)})
        assert torch.equal(model[1].weight != 0, mask)
    twin = copy.deepcopy(one)
    assert twin[0].weight is twin[1].weight
    impcore.prune_global(twin, 0.5)
    assert regrown(impcore.masks_of(twin)) == 0


def test_the_reference_backend_gives_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [net(), net()]
    hashes = []
    for model, backend in zip(models, ("cpu", "reference"), strict=True):
        monkeypatch.setenv("IMPCORE_BACKEND", backend)
        model.to(memory_format=torch.channels_last)
        masks = impcore.prune_global(model, 0.37)
        impcore.prune_global(model, count=5)
        masks.rewind(Net().state_dict())
        hashes.append((masks.hash, masks.remaining, regrown(masks)))
    assert hashes[0] == hashes[1]


def test_counting_reads_the_words_once() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    masks["fc.weight"] = masks["fc.weight"]
    assert masks.remaining == int(ops.bits.count(masks.words))


def test_masks_in_or_around_a_masked_model_are_told_of() -> None:
    inner = net()
    outer = nn.Sequential(inner)
    masks = impcore.prune_global(outer, 0.5)
    with pytest.warns(UserWarning, match=r"weights of Net are masked already.*\(3 parameters\)"):
        own = impcore.Masks(inner)
    assert own.remaining == own.total
    with pytest.warns(UserWarning, match="weights of Sequential are masked already"):
        masks = impcore.Masks(outer)
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning):
        impcore.Masks(outer)
    assert impcore.masks_of(outer) is masks
    masks.release()
    impcore.Masks(inner)  # another net's masks, or its own older ones, are no concern
    impcore.Masks(net())
    fc, inner.fc = inner.fc, nn.Linear(5, 7)
    impcore.Masks(nn.Sequential(fc))  # nor are those of a net that has let go of it
