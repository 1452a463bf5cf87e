"""What prune_global refuses, at once or at a later read: nothing has changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from library_cases import (
    Net,
    net,
    regrown,
    same_bits,
    snapshot,
)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import impcore
from impcore import ops
from impcore.errors import ModelChangedError, NonFiniteError


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("first", [True, False])
def test_non_finite_weights_are_counted_by_name_and_nothing_changes(
    bad: float, dtype: torch.dtype, first: bool
) -> None:
    model = net().to(dtype)
    masks = None if first else impcore.prune_global(model, 0.3)
    with torch.no_grad():
        alive = torch.nonzero((model.fc.weight != 0).flatten()).flatten()
        model.fc.weight.flatten()[alive[:3]] = bad
        model.conv2.weight.view(-1)[torch.nonzero(model.conv2.weight.view(-1) != 0)[0]] = bad
    before, words = snapshot(model), None if first else masks.words.clone()
    with pytest.raises(NonFiniteError, match=r"conv2\.weight \(1\), fc\.weight \(3\)"):
        impcore.prune_global(model, 0.2)
    assert same_bits(model, before)
    assert impcore.masks_of(model) is masks
    if not first:
        assert torch.equal(masks.words, words)
        assert masks.remaining == sum(int(m.sum()) for m in masks.values())


def test_what_a_dead_weight_holds_does_not_count_and_becomes_zero() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    dead = ~masks["fc.weight"]
    for value in (math.nan, math.inf, -1e-3, -0.0, 1e9):
        with torch.no_grad():
            model.fc.weight[dead] = value
        remaining = masks.remaining
        impcore.prune_global(model, 0.1)
        assert masks.remaining == remaining - round(0.1 * remaining)
        assert regrown(masks) == 0


def zero_fc(masks: impcore.Masks) -> None:
    masks["fc.weight"] = torch.zeros(7, 5, dtype=torch.bool)


READS: dict[str, Callable[[nn.Module, impcore.Masks], object]] = {
    "remaining": lambda model, masks: masks.remaining,
    "hash": lambda model, masks: masks.hash,
    "state_dict": lambda model, masks: masks.state_dict(),
    "deepcopy": lambda model, masks: copy.deepcopy(model),
    "prune": lambda model, masks: impcore.prune_global(model, 0.1),
    "set": lambda model, masks: zero_fc(masks),
}


@pytest.mark.parametrize("read", READS)
def test_a_deferred_error_comes_once_and_leaves_everything_consistent(read: str) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5, sync=False)
    kept = masks.remaining
    words = masks.words.clone()
    good = model.conv1.weight.detach().clone()
    with torch.no_grad():
        model.conv1.weight[masks["conv1.weight"]] = math.nan
    before = snapshot(model)
    for _ in range(2):
        impcore.prune_global(model, 0.2, sync=False)
    with pytest.raises(NonFiniteError, match=r"conv1\.weight \(\d+\): an earlier prune_global"):
        READS[read](model, masks)
    assert same_bits(model, before)
    assert torch.equal(masks.words, words)
    assert masks.remaining == kept
    with torch.no_grad():
        model.conv1.weight.copy_(good)
    impcore.prune_global(model, 0.2, sync=False)
    impcore.prune_global(model, 0.2, sync=False)
    once = kept - round(0.2 * kept)
    assert masks.remaining == once - round(0.2 * once)


def test_an_asynchronous_prune_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    flow = impcore.Flow(impcore.Masks(model))

    def read(tensor: torch.Tensor) -> int:
        raise AssertionError("a host read")

    with monkeypatch.context() as patch:
        for name in ("__int__", "__bool__", "__float__", "item", "tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, read)
        for _ in range(3):
            impcore.prune_global(model, 0.2, sync=False, flow=flow)
        impcore.prune_global(model, count=2, sync=False)
        with pytest.raises(AssertionError, match="a host read"):
            impcore.prune_global(model, 0.2)
    assert len(flow.M) == 3
    assert (
        impcore.masks_of(model).remaining == flow.remaining[2] - round(0.2 * flow.remaining[2]) - 2
    )


def test_a_clean_prune_after_a_dirty_one_still_counts_right() -> None:
    model = net()
    masks = impcore.Masks(model)
    good = model.fc.weight.detach().clone()
    with torch.no_grad():
        model.fc.weight.fill_(math.nan)
    impcore.prune_global(model, 0.5, sync=False)
    with torch.no_grad():
        model.fc.weight.copy_(good)
    impcore.prune_global(model, count=10, sync=False)
    with pytest.raises(NonFiniteError, match="an earlier prune_global"):
        _ = masks.remaining
    assert masks.remaining == masks.total - 10 == sum(int(m.sum()) for m in masks.values())


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_out_of_memory_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, first: bool, sync: bool
) -> None:
    def exhausted(*args: object, **kwargs: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("made up")

    for target, name in ((ops, "workspace"), (torch, "empty_like"), (ops, "topk_mask")):
        model = net()
        masks = None if first else impcore.Masks(model)
        before = snapshot(model)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, exhausted)
            with pytest.raises(torch.OutOfMemoryError):
                impcore.prune_global(model, 0.2, sync=sync)
        assert same_bits(model, before)
        assert impcore.masks_of(model) is masks
        if masks is not None:
            assert masks.remaining == masks.total == int(ops.bits.count(masks.words))
        again = impcore.prune_global(model, 0.2, sync=sync)
        assert again.remaining == again.total - round(0.2 * again.total)


def test_an_interrupted_commit_never_leaves_a_wrong_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = net()
    masks = impcore.Masks(model)
    commit = ops.commit

    def interrupted(*args: object) -> None:
        commit(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ops, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            impcore.prune_global(model, 0.25)
    assert masks.remaining == sum(int(m.sum()) for m in masks.values()) < masks.total


def rename(model: Net) -> None:
    model.head = model.fc
    del model.fc


def remove(model: Net) -> None:
    del model.conv2


def reshape(model: Net) -> None:
    model.fc = nn.Linear(5, 8)


def reshape_data(model: Net) -> None:
    model.fc.weight.data = model.fc.weight.data.reshape(5, 7)


def add(model: Net) -> None:
    model.extra = nn.Linear(2, 2)


def tie(model: Net) -> None:
    model.again = nn.Linear(5, 7)
    model.again.weight = model.fc.weight


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (rename, ["fc.weight is gone", "head.weight is new"]),
        (remove, ["conv2.weight is gone"]),
        (reshape, ["fc.weight was (7, 5), is (8, 5)"]),
        (reshape_data, ["fc.weight was (7, 5), is (5, 7)"]),
        (add, ["extra.weight is new"]),
        (tie, ["again.weight is new"]),
    ],
)
def test_a_changed_model_is_refused_with_the_difference(change: object, phrases: list[str]) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.3)
    words = masks.words.clone()
    change(model)
    before = snapshot(model)
    with pytest.raises(ModelChangedError) as error:
        impcore.prune_global(model, 0.3)
    for phrase in phrases:
        assert phrase in str(error.value)
    assert same_bits(model, before)
    assert torch.equal(masks._arena._words, words)
    impcore.Masks(model)
    assert impcore.prune_global(model, 0.3).remaining > 0


def test_ties_that_came_or_went_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    impcore.prune_global(model, 0.3)
    model[1].weight = model[0].weight
    with pytest.raises(
        ModelChangedError, match=r"1\.weight was tied to None, is tied to 0\.weight"
    ):
        impcore.prune_global(model, 0.3)
    impcore.Masks(model)
    impcore.prune_global(model, 0.3)
    model[1].weight = nn.Parameter(torch.randn(4, 4))
    with pytest.raises(
        ModelChangedError, match=r"1\.weight was tied to 0\.weight, is tied to None"
    ):
        impcore.prune_global(model, 0.3)


def test_other_dtypes_after_the_masks_are_refused_by_name() -> None:
    model = net()
    impcore.prune_global(model, 0.3)
    model.conv2.bfloat16()
    with pytest.raises(TypeError, match=r"conv2\.weight is torch\.bfloat16.*one dtype"):
        impcore.prune_global(model, 0.3)
    model.double()
    with pytest.raises(TypeError, match=r"conv1\.weight has dtype torch\.float64.*\.float\(\)"):
        impcore.prune_global(model, 0.3)
    model.half()
    assert regrown(impcore.prune_global(model, 0.3)) == 0


@pytest.mark.parametrize("allow", [False, True])
def test_a_fake_mode_is_refused_and_leaves_nothing_fake_behind(allow: bool) -> None:
    model = net()
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    opt = impcore.MaskedSGD(model.parameters(), lr=0.1, masks=masks)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = snapshot(model)
    for act in (lambda: impcore.prune_global(model, 0.2), flow.record, opt.step):
        refused = pytest.raises(NotImplementedError, match="FakeTensorMode")
        with refused, FakeTensorMode(allow_non_fake_inputs=allow):
            act()
        assert same_bits(model, before)
        assert not opt.state
    impcore.prune_global(model, 0.2, flow=flow)
    assert masks.remaining == masks.total - round(0.2 * masks.total)
    assert len(flow.M) == 1


@pytest.mark.parametrize("masked", [False, True])
def test_a_flow_that_is_none_is_named(masked: bool) -> None:
    model = net()
    if masked:
        impcore.prune_global(model, 0.2)
    before = snapshot(model)
    with pytest.raises(TypeError, match=r"flow must be an impcore\.Flow or None, not int"):
        impcore.prune_global(model, 0.2, flow=3)  # type: ignore[arg-type]
    assert same_bits(model, before)
    assert (impcore.masks_of(model) is not None) == masked
