"""Scopes against brute force, the seeded controls, and layers that would collapse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, net, nets, same_bits, smallest, snapshot, stored
from torch import nn

import impcore
from impcore.cuts import Request, judged
from impcore.errors import LayerCollapseError
from impcore.outcome import COLLAPSED, TOO_MANY
from impcore.ranking import Ranking

RATES = st.lists(st.floats(0, 0.999), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(model=nets(), rates=RATES, sync=st.booleans())
def test_layerwise_prunes_the_rate_of_each_tensor(
    model: nn.Module, rates: list[float], sync: bool
) -> None:
    masks = impcore.Masks(model)
    for rate in rates:
        named = list(zip(masks.names, masks.parameters, strict=True))
        expected = [
            smallest([p], [masks[name]], round(rate * int(masks[name].sum())))[0]
            for name, p in named
        ]
        impcore.prune_global(model, rate, scope="layerwise", sync=sync)
        for (name, p), want in zip(named, expected, strict=True):
            assert np.array_equal(stored(masks[name], p), want)
    assert masks.remaining == sum(int(mask.sum()) for mask in masks.values())


def test_layerwise_counts_are_given_by_name() -> None:
    model = net()
    masks = impcore.prune_global(
        model, count={"fc.weight": 4, "conv2.weight": 1}, scope="layerwise"
    )
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == {
        "conv1.weight": 0,
        "conv2.weight": 1,
        "fc.weight": 4,
    }
    assert masks.remaining == masks.total - 5
    before, left = snapshot(model), int(masks["fc.weight"].sum())
    with pytest.raises(
        ValueError, match=rf"remaining weights in fc\.weight \({left + 1} of {left}\)"
    ):
        impcore.prune_global(model, count={"fc.weight": left + 1}, scope="layerwise")
    impcore.prune_global(model, count={"fc.weight": left + 1}, scope="layerwise", sync=False)
    with pytest.raises(ValueError, match="more weights were to be pruned than remain"):
        _ = masks.remaining
    assert same_bits(model, before)


@pytest.mark.parametrize(("rate", "count"), [(0.3, 95), (0.55, 110), (0.07, 150), (0.5, 5)])
def test_layerwise_rounds_a_half_as_python_rounds_its_float(rate: float, count: int) -> None:
    """In float32 the first three products would lie on the other side of the half."""
    masks = impcore.prune_global(nn.Linear(count, 1), rate, scope="layerwise")
    assert masks.remaining == count - round(rate * count)


@pytest.mark.parametrize("keywords", [{}, {"score": "random"}])
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("name", PRUNABLE)
def test_one_tensor_that_has_too_few_keeps_all_from_being_pruned(
    name: str, sync: bool, keywords: dict[str, str]
) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.2)
    before, left = snapshot(model), {each: int(mask.sum()) for each, mask in masks.items()}
    count = dict.fromkeys(PRUNABLE, 1) | {name: left[name] + 1}
    phrase = rf"weights in {name} \({left[name] + 1} of {left[name]}\);" if sync else "more weights"
    with pytest.raises(ValueError, match=phrase):
        impcore.prune_global(model, count=count, scope="layerwise", sync=sync, **keywords).settle()
    assert same_bits(model, before)
    assert {each: int(mask.sum()) for each, mask in masks.items()} == left


@pytest.mark.parametrize("status", [0, TOO_MANY, 3])
@pytest.mark.parametrize("faults", [None, 0, 2])
@pytest.mark.parametrize("min_keep", [0, 29, 30, 31])
def test_a_cut_is_judged_by_itself_then_its_scores_then_what_is_left(
    status: int, faults: int | None, min_keep: int
) -> None:
    masks = impcore.Masks(net())
    bound = masks.bound()
    bound.scratch.copy_(bound.words)
    bound.scratch[masks.plan.spans[2]][0] &= ~31  # 30 of the 35 weights of fc are left
    ranking = Ranking([], None if faults is None else torch.tensor(faults))
    request = Request(masks, bound, ranking, masks.plan)
    collapse = COLLAPSED if min_keep > 30 else 0
    found = judged(torch.tensor([status]), request, min_keep)
    assert found.shape == (1,)
    assert found.item() == (status or faults or collapse)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), rates=RATES)
def test_the_random_scope_keeps_the_global_counts_of_each_tensor(
    seed: int, rates: list[float]
) -> None:
    model, control = net(seed % 1000), net(seed % 1000)
    for i, rate in enumerate(rates):
        globally = impcore.Masks(model) if i == 0 else impcore.masks_of(model)
        drawn = impcore.prune_global(control, rate, scope="random", seed=seed)
        impcore.prune_global(model, rate)
        if i == 0:  # later, other weights are left to rank
            assert {n: int(m.sum()) for n, m in drawn.items()} == {
                n: int(m.sum()) for n, m in globally.items()
            }
        assert drawn.remaining == globally.remaining


def test_chance_is_seeded_and_blind_to_layout_and_magnitude() -> None:
    def pruned(
        seed: int, channels_last: bool = False, **keywords: object
    ) -> dict[str, torch.Tensor]:
        model = net(width=30)
        if channels_last:
            model.to(memory_format=torch.channels_last)
        return dict(impcore.prune_global(model, 0.5, seed=seed, **keywords))

    for keywords in ({"scope": "random"}, {"score": "random"}):
        first = pruned(1, **keywords)
        for other in (pruned(1, **keywords), pruned(1, channels_last=True, **keywords)):
            assert all(torch.equal(first[name], other[name]) for name in first)
        assert any(not torch.equal(first[n], m) for n, m in pruned(2, **keywords).items())
    weights = net(width=30).conv1.weight.abs()
    kept = pruned(1, scope="random")["conv1.weight"]
    magnitude = dict(impcore.prune_global(net(width=30), 0.5))["conv1.weight"]
    assert int(kept.sum()) == int(magnitude.sum())
    assert weights[kept].mean() < 0.9 * weights[magnitude].mean()


def test_random_scores_prune_all_tensors_alike_and_in_one_order() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    once = impcore.prune_global(model, count=9000, score="random", seed=5).state_dict()
    twice = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    impcore.prune_global(twice, count=4000, score="random", seed=5)
    masks = impcore.prune_global(twice, count=5000, score="random", seed=5)
    assert all(torch.equal(once[name], packed) for name, packed in masks.state_dict().items())
    assert 0.5 < int(masks["0.weight"].sum()) / 5500 < 1.5


@pytest.mark.parametrize("keywords", [{}, {"scope": "layerwise"}, {"score": "random"}])
@pytest.mark.parametrize("sync", [True, False])
def test_a_layer_collapse_is_refused_by_name_before_it_happens(
    keywords: dict[str, str], sync: bool
) -> None:
    model = net()
    with torch.no_grad():
        model.conv2.weight.mul_(1e-6)  # 30 of 227 weights, and the smallest by far
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    before, digest = snapshot(model), masks.hash
    rate = 0.2 if not keywords else 0.95
    listed = r"conv2\.weight \(0\)" if not keywords else r"conv1.*conv2\.weight \(\d\), fc"
    phrase = rf"min_keep=10 weights would be left in {listed}" if sync else "less than min_keep"
    with pytest.raises(LayerCollapseError, match=phrase):
        impcore.prune_global(model, rate, min_keep=10, flow=flow, sync=sync, **keywords).settle()
    assert same_bits(model, before)
    assert masks.hash == digest
    assert masks.remaining == masks.total
    if sync:
        assert len(flow) == 0
    else:
        with pytest.raises(ValueError, match="its row was dropped"):
            _ = flow.M
    impcore.prune_global(model, rate, **keywords)
    assert masks.remaining < masks.total


def test_a_layer_that_loses_nothing_may_be_below_the_floor() -> None:
    model = net()
    masks = impcore.Masks(model)
    masks["conv2.weight"] = torch.zeros_like(masks["conv2.weight"])
    impcore.prune_global(model, count=3, scope="global", min_keep=1)
    impcore.prune_global(model, count={"fc.weight": 3}, scope="layerwise", min_keep=30)
    with pytest.raises(LayerCollapseError, match=r"fc\.weight \(29\)"):
        impcore.prune_global(
            model,
            count={"fc.weight": int(masks["fc.weight"].sum()) - 29},
            scope="layerwise",
            min_keep=30,
        )


@pytest.mark.parametrize(
    "keywords",
    [
        {"scope": "layerwise"},
        {"scope": "random"},
        {"score": "random"},
        {"scope": "layerwise", "score": "random"},
    ],
)
@pytest.mark.parametrize("sync", [True, False])
def test_every_kind_of_prune_records_the_flow_before_it(
    keywords: dict[str, str], sync: bool
) -> None:
    model, twin = net(), net()
    blocks = {"convs": ["conv*"], "fc": ["fc.*"]}
    flow = impcore.Flow(impcore.Masks(model), blocks)
    measured = impcore.Flow(impcore.Masks(twin), blocks)
    for _ in range(2):
        measured.record()
        for m, recorded in ((model, flow), (twin, None)):
            impcore.prune_global(m, 0.3, flow=recorded, sync=sync, **keywords)
    assert np.array_equal(flow.M, measured.M)
    assert np.array_equal(flow.P, measured.P)


def test_names_of_parameters_are_those_of_the_model() -> None:
    assert list(impcore.prune_global(net(), 0.2, scope="layerwise")) == PRUNABLE
