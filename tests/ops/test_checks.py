"""Tensors that cannot be masked, and arguments that do not fit the plan: refused by name."""

import pytest
import torch

from impcore import ops
from impcore.errors import LayoutError
from impcore.ops import checks, native

from . import tensors


class Shard(torch.Tensor):
    """Stands for DTensor: a subclass whose local values are not the whole parameter."""


def parametrised():
    ok = torch.ones(6, 4)
    return {
        "float64": (ok.double(), TypeError, r"weights\[1\] has dtype torch.float64.*\.float\(\)"),
        "int32": (ok.int(), TypeError, "dtype torch.int32"),
        "complex": (ok.to(torch.complex64), TypeError, "dtype torch.complex64"),
        "bool": (ok > 0, TypeError, "dtype torch.bool"),
        "float8": (ok.to(torch.float8_e4m3fn), TypeError, "dtype torch.float8_e4m3fn"),
        "sparse": (ok.to_sparse(), NotImplementedError, "layout torch.sparse_coo"),
        "meta": (ok.to("meta"), NotImplementedError, r"weights\[1\] is on the meta device"),
        "subclass": (ok.as_subclass(Shard), NotImplementedError, r"weights\[1\] is a Shard"),
        "stride 0": (torch.ones(6, 1).expand(6, 4), LayoutError, r"strides \(1, 0\) for shape"),
        "gaps": (torch.ones(6, 8)[:, ::2], LayoutError, r"strides \(8, 2\)"),
        "overlap": (torch.ones(9).as_strided((6, 4), (1, 1)), LayoutError, r"strides \(1, 1\)"),
        "mixed dtypes": (ok.half(), TypeError, r"weights\[1\] is torch.float16, weights\[0\] is"),
        "size": (torch.ones(5, 5), ValueError, r"weights\[1\] has 25 elements, the plan says 24"),
    }


REJECTED = parametrised()
PLAN = ops.Plan.make([24, 24])


def arena():
    return torch.full((PLAN.total_words,), 0xFFFFFF, dtype=torch.int32)


def select(weights, **changes):
    mask_out, workspace = tensors.poisoned(PLAN)
    arguments = {"mask_in": arena(), "mask_out": mask_out, "k": 3, "workspace": workspace}
    return ops.topk_mask(PLAN, weights, **{**arguments, **changes})


CALLS = {
    "topk_mask": select,
    "commit": lambda weights: ops.commit(
        PLAN, weights, arena(), arena(), torch.zeros(1, dtype=torch.int64)
    ),
    "rewind": lambda weights: ops.rewind(PLAN, weights, arena()),
    "block_l1": lambda weights: ops.block_l1(PLAN, weights, arena()),
}


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize("case", REJECTED)
def test_weights_that_cannot_be_masked(op, case, backend):
    bad, error, message = REJECTED[case]
    good = torch.ones(6, 4)
    with pytest.raises(error, match=message):
        CALLS[op]([good, bad])
    assert (good == 1).all()


@pytest.mark.parametrize("case", REJECTED)
def test_the_native_walk_takes_no_weights_that_cannot_be_masked(case):
    bad, good = REJECTED[case][0], torch.ones(6, 4)
    assert native.read_weights(PLAN.numels, [good, bad]) is None
    assert native.read_weights(PLAN.numels, [bad, good]) is None


@pytest.mark.parametrize("walks", [True, False])
def test_weights_pass_with_the_native_walk_and_without(walks, monkeypatch):
    if not walks:
        monkeypatch.setattr(native, "read_weights", lambda numels, weights: None)
    channels_last = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)
    for dtype in checks.MASKED_DTYPES:
        weights = [torch.nn.Parameter(torch.ones(4, 6).t().to(dtype)), channels_last.to(dtype)]
        found = checks.check_weights((24, 24), weights, "weights")
        assert [id(w) for w in found] == [id(w) for w in weights]
        assert isinstance(found, native.Weights) == walks
        for wrong in ((24,), (24, 23), (24, 24, 0)):
            with pytest.raises(ValueError, match="the plan"):
                checks.check_weights(wrong, weights, "weights")


@pytest.mark.parametrize("op", CALLS)
def test_a_missing_weight(op):
    with pytest.raises(ValueError, match="weights holds 1 tensors, the plan is for 2"):
        CALLS[op]([torch.ones(24)])


def test_a_source_of_other_length():
    with pytest.raises(ValueError, match="source holds 1 tensors"):
        ops.rewind(PLAN, [torch.ones(24)] * 2, arena(), [torch.ones(24)])


SELECT_ARGUMENTS = {
    "mask_in too short": ({"mask_in": arena()[1:]}, ValueError, "mask_in must be .* of 2 words"),
    "mask_in int64": ({"mask_in": arena().long()}, ValueError, "not torch.int64"),
    "mask_out strided": (
        {"mask_out": torch.zeros(4, dtype=torch.int32)[::2]},
        ValueError,
        "mask_out must be a contiguous",
    ),
    "mask_out 2-D": ({"mask_out": torch.zeros(1, 2, dtype=torch.int32)}, ValueError, r"\(1, 2\)"),
    "mask_out meta": ({"mask_out": arena().to("meta")}, ValueError, "on cpu, not .* on meta"),
    "k float": ({"k": 2.5}, TypeError, "k must be an int.* not 2.5"),
    "k bool": ({"k": True}, TypeError, "not True"),
    "k None": ({"k": None}, TypeError, "not None"),
    "k int32": ({"k": torch.tensor(3, dtype=torch.int32)}, ValueError, "int64 scalar, not"),
    "k vector": ({"k": torch.tensor([1, 2])}, ValueError, r"shape \(2,\)"),
    "k meta": ({"k": torch.tensor(3, device="meta")}, ValueError, "k is on meta"),
    "workspace float": ({"workspace": torch.empty(10**6)}, ValueError, "not torch.float32"),
    "workspace expanded": (
        {"workspace": torch.empty(1, dtype=torch.uint8).expand(10**7)},
        ValueError,
        r"strides \(0,\)",
    ),
    "workspace misaligned": (
        {"workspace": torch.empty(10**7, dtype=torch.uint8)[1:]},
        ValueError,
        "aligned",
    ),
    "bracket reversed": ({"bracket": (5, 4)}, ValueError, r"lo <= hi .* got \(5, 4\)"),
    "bracket too high": ({"bracket": (0, 2**31)}, ValueError, "got"),
    "bracket negative": ({"bracket": (-1, 0)}, ValueError, "got"),
}


@pytest.mark.parametrize("case", SELECT_ARGUMENTS)
def test_arguments_of_a_selection(case, backend):
    changes, error, message = SELECT_ARGUMENTS[case]
    with pytest.raises(error, match=message):
        select([torch.ones(24), torch.ones(24)], **changes)


def test_a_short_workspace(monkeypatch):
    monkeypatch.setenv("IMPCORE_BACKEND", "cpu")  # the reference needs none
    short = torch.empty(64, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"workspace has 64 bytes, this plan needs \d+"):
        select([torch.ones(24), torch.ones(24)], workspace=short)


def test_mask_out_must_not_be_mask_in():
    mask = arena()
    with pytest.raises(ValueError, match="mask_out must not be mask_in"):
        select([torch.ones(24), torch.ones(24)], mask_in=mask, mask_out=mask)
    assert torch.equal(mask, arena())


@pytest.mark.parametrize(
    "status", [torch.zeros(1), torch.zeros(1, dtype=torch.int32), torch.zeros(2).long()], ids=repr
)
def test_commit_takes_the_status_of_a_selection(status):
    weights = [torch.ones(24), torch.ones(24)]
    with pytest.raises(ValueError, match="status must be the int64"):
        ops.commit(PLAN, weights, arena(), arena() * 0, status)
    assert all((w == 1).all() for w in weights)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(0, 3),
        torch.ones(()),
        torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.ones(5, 4).t(),
        torch.ones(9)[1:],
        torch.nn.Parameter(torch.ones(3)),
        torch.ones(4, 1, 3)[:, :, :].permute(2, 1, 0),
        torch.ones(6, 1, 4)[:, :1],
    ],
    ids=lambda t: f"{tuple(t.shape)} {t.stride()}",
)
def test_dense_layouts_pass(tensor):
    checks.check_maskable(tensor, "it")
