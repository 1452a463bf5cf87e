"""The flow against float64 NumPy, and against what prune_global records on the way."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import PRUNABLE, Net, fill, net, nets
from torch import nn

import impcore
from impcore.errors import LayerCollapseError, NonFiniteError
from impcore.outcome import COLLAPSED, TOO_MANY

BLOCKS = {"first": ["conv1.*"], "others": ["conv2.*", "fc.*"]}


def sums(masks: impcore.Masks, groups: list[list[str]]) -> np.ndarray:
    """Sum of |m theta| and of m per group, in float64."""
    weights = dict(zip(masks.names, masks.parameters, strict=True))
    rows = [
        [math.fsum(weights[n].detach().double().abs()[masks[n]].tolist()) for n in names]
        for names in groups
    ]
    counts = [sum(int(masks[n].sum()) for n in names) for names in groups]
    return np.array([[math.fsum(row) for row in rows], counts], dtype=np.float64)


@settings(max_examples=30, deadline=None)
@given(
    model=nets(),
    rates=st.lists(st.floats(0, 0.9), min_size=1, max_size=4),
    blocks=st.sampled_from(
        [None, BLOCKS, {"conv": ["conv*"]}, {}, {"b": ["fc*"], "a": ["conv1*"]}]
    ),
)
def test_shares_are_those_of_numpy_and_a_prune_records_the_same_bits(
    model: nn.Module, rates: list[float], blocks: dict[str, list[str]] | None
) -> None:
    masks = impcore.Masks(model)
    recorded, pruned = impcore.Flow(masks, blocks), impcore.Flow(masks, blocks)
    groups = {
        "None": [[n] for n in PRUNABLE],
        str(BLOCKS): [PRUNABLE[:1], PRUNABLE[1:]],
        "{'conv': ['conv*']}": [PRUNABLE[:2], PRUNABLE[2:]],
        "{}": [PRUNABLE],
        "{'b': ['fc*'], 'a': ['conv1*']}": [PRUNABLE[2:], PRUNABLE[:1], PRUNABLE[1:2]],
    }[str(blocks)]
    expected, remaining = [], []
    for i, rate in enumerate(rates):
        expected.append(sums(masks, groups))
        remaining.append(masks.remaining)
        recorded.record()
        impcore.prune_global(model, rate, flow=pruned, sync=i % 2 == 0)
    assert recorded.M.shape == recorded.P.shape == (len(rates), len(groups))
    assert recorded.M.dtype == np.float64
    assert recorded.M.tobytes() == pruned.M.tobytes()
    assert recorded.P.tobytes() == pruned.P.tobytes()
    assert recorded.state_dict()["sums"].equal(pruned.state_dict()["sums"])
    assert recorded.remaining.tolist() == pruned.remaining.tolist() == remaining
    for row, (magnitudes, counts) in enumerate(expected):
        for ours, total in ((recorded.M[row], magnitudes), (recorded.P[row], counts)):
            if total.sum():
                np.testing.assert_allclose(ours, total / total.sum(), rtol=1e-12, atol=0)
                assert abs(ours.sum() - 1) < 1e-12
            else:
                assert np.isnan(ours).all()


def test_columns_default_cover_and_rest() -> None:
    masks = impcore.Masks(net())
    assert impcore.Flow(masks).names == PRUNABLE
    assert impcore.Flow(masks, BLOCKS).names == ["first", "others"]
    assert impcore.Flow(masks, {"b": ["fc.weight"]}).names == ["b", "rest"]
    assert impcore.Flow(masks, {}).names == ["rest"]
    assert impcore.Flow(masks, {"rest": ["*"]}).names == ["rest"]


def test_names_that_look_like_patterns_are_columns_of_their_own() -> None:
    model = nn.ModuleDict({"a*": nn.Linear(2, 3), "ab": nn.Linear(2, 4), "[c]": nn.Linear(2, 5)})
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    flow.record()
    assert flow.names == ["a*.weight", "ab.weight", "[c].weight"]
    np.testing.assert_allclose(flow.P[0], np.array([6, 8, 10]) / 24)


@pytest.mark.parametrize(
    ("blocks", "error", "phrase"),
    [
        ({"a": ["nope.*"]}, ValueError, r"block 'a' covers no masked parameter.*nope"),
        ({"a": []}, ValueError, "block 'a' covers no masked parameter"),
        ({"a": None}, ValueError, "block 'a' covers no masked parameter"),
        ({"a": ["conv*"], "b": ["conv1*"]}, ValueError, r"conv1\.weight is in two blocks: 'a' and"),
        ({"rest": ["conv*"]}, ValueError, "'rest' is taken"),
        ({"a": "conv*"}, TypeError, r"block 'a' must be a list of patterns.*'conv\*'"),
        ({"a": [1]}, TypeError, "block 'a'"),
        ({"norm": ["norm.*"]}, ValueError, "covers no masked parameter"),
    ],
)
def test_wrong_blocks(blocks: object, error: type[Exception], phrase: str) -> None:
    with pytest.raises(error, match=phrase):
        impcore.Flow(impcore.Masks(net()), blocks)


def test_what_are_no_masks_or_no_blocks_is_refused_by_name() -> None:
    model = net()
    masks = impcore.Masks(model)
    with pytest.raises(TypeError, match=r"impcore.Masks, not Net; impcore.masks_of\(model\)"):
        impcore.Flow(model)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"blocks must be a mapping .*got \['fc.\*'\]"):
        impcore.Flow(masks, ["fc.*"])  # type: ignore[arg-type]


def test_saved_as_the_docs_say_it_is_a_run_that_can_be_read(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[1] / "docs" / "analysis.md").read_text("utf-8")
    (call,) = re.findall(r"^np\.savez\(.*?\)$", docs, re.MULTILINE | re.DOTALL)
    model = net()
    masks = impcore.prune_global(model, 0.5)
    flow = impcore.Flow(masks)
    for _ in range(3):
        impcore.prune_global(model, 0.2, flow=flow)
    exec(call.replace("runs/mine", str(tmp_path)), {"np": np, "flow": flow, "masks": masks})
    run = impcore.rg.load(tmp_path)
    assert np.array_equal(run.M, flow.M)
    assert np.array_equal(run.P, flow.P)
    assert (list(run.names), run.theta) == (flow.names, "trained")
    assert np.allclose(run.density, flow.remaining / masks.total)


def test_an_empty_flow_has_no_rows() -> None:
    flow = impcore.Flow(impcore.Masks(net()), BLOCKS)
    assert flow.M.shape == flow.P.shape == (0, 2)
    assert flow.remaining.shape == (0,)
    assert len(flow) == 0
    again = impcore.Flow(impcore.Masks(net()), BLOCKS)
    again.load_state_dict(flow.state_dict())
    assert len(again) == 0


def test_rows_survive_a_state_dict_and_stay_apart() -> None:
    model = net()
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks, BLOCKS)
    for _ in range(3):
        impcore.prune_global(model, 0.3, flow=flow)
    state = flow.state_dict()
    other = impcore.Flow(impcore.Masks(net(1)), BLOCKS)
    other.record()
    other.load_state_dict(state)
    assert other.M.tobytes() == flow.M.tobytes()
    assert other.remaining.tolist() == flow.remaining.tolist()
    other.record()
    assert len(other) == 4
    state["sums"].zero_()
    assert flow.M[0].sum() == pytest.approx(1)
    before = other.M
    for broken in (
        {},
        {"sums": torch.zeros(3, 2, 3, dtype=torch.float64)},
        {"sums": torch.zeros(3, 2, 2)},
        {"sums": torch.zeros(2, 2, dtype=torch.float64)},
        {"sums": torch.zeros(2, dtype=torch.float64)},
        {"sums": np.zeros((3, 2, 2))},
    ):
        with pytest.raises(ValueError, match=r"sums must be float64 \[rows, 2, 2\]"):
            other.load_state_dict(broken)
        assert other.M.tobytes() == before.tobytes()


def test_a_flow_of_other_masks_is_refused() -> None:
    model, other = net(), net(1)
    stale = impcore.Flow(impcore.Masks(model))
    impcore.Masks(model)
    foreign = impcore.Flow(impcore.Masks(other))
    for flow in (stale, foreign):
        with pytest.raises(ValueError, match="other masks"):
            impcore.prune_global(model, 0.2, flow=flow)
        assert len(flow) == 0
    fresh = net(2)
    with pytest.raises(ValueError, match="other masks"):
        impcore.prune_global(fresh, 0.2, flow=foreign)
    assert impcore.masks_of(fresh) is None
    assert impcore.masks_of(model).remaining == impcore.masks_of(model).total


@pytest.mark.parametrize("sync", [True, False])
def test_a_prune_that_fails_leaves_no_row(sync: bool) -> None:
    model = net()
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    impcore.prune_global(model, 0.2, flow=flow, sync=sync)
    good = model.conv1.weight.detach().clone()
    with torch.no_grad():
        model.conv1.weight.fill_(math.nan)

    def fail() -> None:
        impcore.prune_global(model, 0.2, flow=flow, sync=sync)
        _ = flow.M

    with pytest.raises(NonFiniteError):
        fail()
    with torch.no_grad():
        model.conv1.weight.copy_(good)
    if not sync:
        with pytest.raises(NonFiniteError):
            _ = masks.remaining
    impcore.prune_global(model, 0.2, flow=flow, sync=sync)
    assert flow.remaining.tolist() == [masks.total, masks.total - round(0.2 * masks.total)]


def test_the_first_of_several_prunes_that_failed_is_raised_and_the_rows_of_all_go() -> None:
    model = net()
    flow = impcore.Flow(impcore.Masks(model))
    flow.record()
    for status in (0, COLLAPSED, 2, TOO_MANY, 0):
        flow.append(torch.full((2, 3), float(len(flow)), dtype=torch.float64), torch.tensor(status))
    with pytest.raises(LayerCollapseError, match="its row was dropped"):
        _ = flow.P
    assert flow.state_dict()["sums"][1:, 0, 0].tolist() == [1, 5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_of_a_diverged_model_is_refused_and_can_be_replaced(bad: float) -> None:
    model = net()
    flow = impcore.Flow(impcore.Masks(model), BLOCKS)
    flow.record()
    state = flow.state_dict()
    with torch.no_grad():
        model.conv1.weight[3, 2] = bad
    flow.record()
    with pytest.raises(NonFiniteError, match="row 1 of the flow: alive weights of 'first'"):
        _ = flow.M
    assert flow.P.shape == (2, 2)
    flow.load_state_dict(state)
    assert flow.M.shape == (1, 2)


def test_loaded_rows_have_nothing_pending() -> None:
    model = net()
    flow = impcore.Flow(impcore.Masks(model))
    flow.record()
    state = flow.state_dict()
    with torch.no_grad():
        model.conv1.weight.fill_(math.nan)
    impcore.prune_global(model, 0.2, flow=flow, sync=False)
    flow.load_state_dict(state)
    assert flow.M.shape == (1, 3)
    assert np.isfinite(flow.M).all()


def test_rows_follow_a_change_of_memory_format() -> None:
    model = Net(9)
    fill(model, 1, "normal")
    masks = impcore.prune_global(model, 0.4)
    flow = impcore.Flow(masks, BLOCKS)
    flow.record()
    model.to(memory_format=torch.channels_last)
    flow.record()
    np.testing.assert_allclose(flow.M[0], flow.M[1], rtol=1e-14)
    assert flow.P[0].tolist() == flow.P[1].tolist()
