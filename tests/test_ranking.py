"""The cut by a score against a stable sort: signed, to the last bit, in any layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, net, nets, snapshot, stored
from torch import nn

import impcore
from impcore import ranking

SEEDS = st.integers(0, 2**32)
SCORE_KINDS = ("normal", "ties", "near", "signed zeros", "subnormal", "huge")


def scores_of(kind: str, shape: torch.Size, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Scores of both signs; "near" ones differ in their last bits only."""
    rng = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=rng, dtype=torch.float64)
    few = torch.randint(-2, 3, shape, generator=rng)
    if kind == "ties":
        return (few * 0.5).to(dtype)
    if kind == "signed zeros":
        return torch.where(few < 0, -0.0, 0.0).to(dtype) * torch.where(few == 2, -1, 1)
    if kind == "subnormal":
        return (normal * (5e-320 if dtype == torch.float64 else 1e-43)).to(dtype)
    if kind == "huge":
        return (normal.sign() * torch.finfo(dtype).max * (1 - 0.1 * normal.abs() / 10)).to(dtype)
    if kind == "near":
        integer = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
        values = torch.where(normal < 0, -1.7, 1.7).to(dtype).contiguous()
        return (values.view(integer) + few.to(integer)).view(dtype)
    return normal.to(dtype)


def lowest(scores: list[np.ndarray], masks: list[np.ndarray], k: int) -> list[np.ndarray]:
    """Brute force: masks in storage order after the k lowest scores among the alive are gone."""
    after = [mask.copy() for mask in masks]
    places = [(i, j) for i, mask in enumerate(masks) for j in np.flatnonzero(mask)]
    order = sorted(places, key=lambda place: (float(scores[place[0]][place[1]]) + 0.0, place))
    for i, j in order[:k]:
        after[i][j] = False
    return after


@settings(max_examples=60, deadline=None)
@given(
    model=nets(),
    kind=st.sampled_from(SCORE_KINDS),
    dtypes=st.lists(st.sampled_from([torch.float32, torch.float64]), min_size=3, max_size=3),
    seed=SEEDS,
    rates=st.lists(st.floats(0, 0.999), min_size=1, max_size=3),
    sync=st.booleans(),
)
def test_prunes_what_a_stable_sort_of_the_scores_prunes(
    model: nn.Module,
    kind: str,
    dtypes: list[torch.dtype],
    seed: int,
    rates: list[float],
    sync: bool,
) -> None:
    masks = impcore.Masks(model)
    named = dict(zip(masks.names, masks.parameters, strict=True))
    scores = {
        name: scores_of(kind, p.shape, dtype, seed + i)
        for i, ((name, p), dtype) in enumerate(zip(named.items(), dtypes, strict=True))
    }
    for rate in rates:
        before = [stored(masks[name], p) for name, p in named.items()]
        k = round(rate * masks.remaining)
        expected = lowest([stored(scores[n], p) for n, p in named.items()], before, k)
        impcore.prune_global(model, rate, score=scores, sync=sync)
        for (name, p), want in zip(named.items(), expected, strict=True):
            assert np.array_equal(stored(masks[name], p), want)
            assert not p.detach()[~masks[name]].any()


@pytest.mark.parametrize("kind", SCORE_KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_chunks_are_cut_like_few(kind: str, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(300, 500), nn.Linear(500, 301), nn.Linear(301, 3))
    masks = impcore.Masks(model)
    shapes = {name: model.get_parameter(name).shape for name in masks}
    scores = {name: scores_of(kind, shape, dtype, 7) for name, shape in shapes.items()}
    alive = np.ones(masks.total, dtype=bool)
    flat = np.concatenate([scores[name].numpy().ravel() for name in masks])
    for rate in (0.3, 0.9):
        left = np.flatnonzero(alive)
        order = left[np.argsort(flat[left], kind="stable")]
        alive[order[: round(rate * masks.remaining)]] = False
        impcore.prune_global(model, rate, score=scores)
        assert np.array_equal(np.concatenate([masks[n].numpy().ravel() for n in masks]), alive)


@given(
    st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=20),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_digits_are_finite_and_order_as_the_numbers_do(
    values: list[float], dtype: torch.dtype
) -> None:
    digits = ranking._digits(torch.tensor(values, dtype=dtype))
    assert len(digits) == {torch.float32: 2, torch.float64: 3}[dtype]
    assert all(bool((torch.isfinite(d) & (d.view(torch.int32) >= 0)).all()) for d in digits)
    keys = list(zip(*(d.view(torch.int32).tolist() for d in digits), strict=True))
    for a, key in zip(values, keys, strict=True):
        for b, other in zip(values, keys, strict=True):
            assert (a < b) == (key < other)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_doubles_lose_no_bit(a: float, b: float) -> None:
    exact = torch.tensor([a, b], dtype=torch.float64)
    digits = ranking._digits(exact)
    first, second = zip(*(d.view(torch.int32).tolist() for d in digits), strict=True)
    assert (a < b) == (first < second)
    assert (a == b) == (first == second)


def test_without_masks_or_weights_there_is_nothing_to_split() -> None:
    empty = impcore.prune_global(nn.Linear(0, 3), 0.5, score={"weight": torch.zeros(3, 0)})
    assert empty.total == 0


def test_the_reference_backend_gives_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for backend in ("cpu", "reference"):
        monkeypatch.setenv("IMPCORE_BACKEND", backend)
        model = net()
        scores = {
            name: scores_of("near", p.shape, torch.float64, 3)
            for name, p in model.named_parameters()
        }
        hashes.append(impcore.prune_global(model, 0.4, score=scores).hash)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("change", "error", "phrase"),
    [
        (lambda s: s.pop("fc.weight"), KeyError, "scores lack 'fc.weight'"),
        (lambda s: s.update({"fc.weight": torch.ones(5, 7)}), ValueError, r"shape \(5, 7\)"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5).long()}), TypeError, "torch.int64"),
        (lambda s: s.update({"fc.weight": np.ones((7, 5))}), TypeError, "not ndarray"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5).to_sparse()}), ValueError, "sparse"),
        (lambda s: s.update({"fc.weight": torch.ones(7, 5, device="meta")}), TypeError, "data"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_scores_that_do_not_fit_change_nothing(
    change: object, error: type[Exception], phrase: str, first: bool
) -> None:
    model = net()
    masks = None if first else impcore.prune_global(model, 0.3)
    scores = {name: torch.ones_like(model.get_parameter(name)) for name in PRUNABLE}
    change(scores)
    before = snapshot(model)
    with pytest.raises(error, match=phrase):
        impcore.prune_global(model, 0.2, score=scores)
    assert snapshot(model).keys() == before.keys()
    assert all(torch.equal(before[n], b) for n, b in snapshot(model).items())
    assert impcore.masks_of(model) is masks


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sync", [True, False])
def test_scores_that_are_not_finite_are_refused_where_weights_live(bad: float, sync: bool) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    scores = {name: torch.rand(model.get_parameter(name).shape) for name in PRUNABLE}
    for name in PRUNABLE:
        scores[name][~masks[name]] = bad  # of dead weights: of no consequence
    impcore.prune_global(model, 0.2, score=scores, sync=sync)
    digest, left = masks.hash, masks.remaining
    alive = masks["fc.weight"].nonzero()[:2]
    scores["fc.weight"][alive[:, 0], alive[:, 1]] = bad
    phrase = r"scores of fc\.weight \(2\); nothing" if sync else "weights or their scores"
    with pytest.raises(impcore.errors.NonFiniteError, match=phrase):
        impcore.prune_global(model, 0.2, score=scores, sync=sync).settle()
    assert (masks.hash, masks.remaining) == (digest, left)


def test_weights_that_are_not_finite_are_refused_under_any_score() -> None:
    model = net()
    with torch.no_grad():
        model.fc.weight[0, 0] = math.nan
    with pytest.raises(impcore.errors.NonFiniteError, match=r"weights of fc\.weight \(1\)"):
        impcore.prune_global(model, 0.2, score="random")


def test_nothing_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    scores = {name: torch.randn(model.get_parameter(name).shape) for name in PRUNABLE}

    def read(tensor: torch.Tensor) -> int:
        raise AssertionError("a host read")

    with monkeypatch.context() as patch:
        for name in ("__int__", "__bool__", "__float__", "item", "tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, read)
        impcore.prune_global(model, 0.2, score=scores, sync=False, flow=flow)
        impcore.prune_global(model, 0.2, scope="layerwise", min_keep=2, sync=False, flow=flow)
        impcore.prune_global(model, count={"fc.weight": 2}, scope="layerwise", sync=False)
    assert len(flow.M) == 2
    assert masks.remaining == sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.gpu
@pytest.mark.parametrize("scope", ["global", "layerwise", "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gpu_prunes_the_same(scope: str, dtype: torch.dtype, gpu_backend: str) -> None:
    hashes = []
    for device in ("cpu", "cuda"):
        model = net(width=40)
        shapes = {name: model.get_parameter(name).shape for name in PRUNABLE}
        scores = {name: scores_of("near", shape, dtype, 5) for name, shape in shapes.items()}
        model.to(device)
        with pytest.MonkeyPatch.context() as patch:
            if device == "cpu":
                patch.delenv("IMPCORE_BACKEND")
            for _ in range(2):
                masks = impcore.prune_global(model, 0.3, scope=scope, score=scores, min_keep=1)
            hashes.append(masks.hash)
    assert hashes[0] == hashes[1]
