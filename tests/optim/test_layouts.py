"""Masked optimisers over any dense layout and dtype, and what they refuse before a step."""

import copy

import pytest
import torch
from torch import nn

from impcore import masks_of
from impcore.errors import LayoutError

from .cases import (
    both_kinds,
    bytes_of,
    check_dead,
    net,
    pruned,
    set_gradients,
)


def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 2))


def logical(model):
    return [p.detach().contiguous().clone() for p in model.parameters()]


@pytest.mark.parametrize("moment", [0, 2], ids=["from the start", "half way"])
@both_kinds
def test_channels_last_is_the_same_run(kind, moment):
    plain, moved = conv(), conv()
    masks = [pruned(m) for m in (plain, moved)]
    optimizers = [
        kind.ours(m.parameters(), masks=k, **kind.heavy)
        for m, k in zip((plain, moved), masks, strict=True)
    ]
    for step in range(4):
        if step == moment:
            moved.to(memory_format=torch.channels_last)
            assert not moved[0].weight.is_contiguous()
        set_gradients([plain, moved], step)
        for optimizer in optimizers:
            optimizer.step()
    assert all(map(torch.equal, logical(plain), logical(moved)))
    check_dead(masks[1], optimizers[1])
    state = optimizers[1].state[moved[0].weight]
    assert {v.stride() for v in state.values() if v.dim()} == {moved[0].weight.stride()}


@both_kinds
def test_a_state_of_another_layout_is_taken_over(kind):
    plain, moved = conv(), conv().to(memory_format=torch.channels_last)
    first = kind.theirs(plain.parameters(), **kind.heavy)
    set_gradients([plain], 0)
    first.step()
    moved.load_state_dict(plain.state_dict())
    second = kind.ours(moved.parameters(), **kind.heavy)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    set_gradients([plain, moved], 1)
    first.step()
    second.step()
    for a, b in zip(logical(plain), logical(moved), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@both_kinds
def test_gradients_in_another_storage_order(kind):
    ours, theirs = nn.Linear(3, 4), nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    for cls, model in ((kind.ours, ours), (kind.theirs, theirs)):
        model.weight.grad = torch.arange(12.0).view(3, 4).t()
        cls(model.parameters(), lr=0.1).step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-6)
    assert ours.weight.grad.stride() == (1, 4)  # left as it was


@pytest.mark.parametrize("heavy", [False, True])
@both_kinds
def test_several_dtypes_in_one_group(kind, heavy):
    """float32 parameters beside float64 and bfloat16 ones, one launch each."""
    options = kind.heavy if heavy else {"lr": 0.1}
    params = [torch.ones(5, 7), torch.ones(3).double(), torch.ones(4).bfloat16()]
    ours, theirs = ([nn.Parameter(p.clone()) for p in params] for _ in range(2))
    optimizers = [kind.ours(ours, **options), kind.theirs(theirs, foreach=False, **options)]
    for step in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad, b.grad = (torch.full_like(a, 0.1 * step - 0.15) for _ in range(2))
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=torch.finfo(a.dtype).eps * 4, atol=0)


@both_kinds
def test_a_model_that_changes_its_dtype_takes_its_state_along(kind):
    model = net()
    optimizer = kind.ours(model.parameters(), masks=pruned(model), **kind.heavy)
    for step in range(3):
        set_gradients([model], step)
        optimizer.step()
        model.bfloat16()
    assert optimizer.state[model[0].weight][kind.state].dtype == torch.bfloat16
    check_dead(masks_of(model), optimizer)


def unused(*args):
    raise AssertionError("the kernel must not be reached")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda m: setattr(m[3].weight, "grad", torch.ones(5, 12).to_sparse()),
            NotImplementedError,
            r"gradient of parameter 1 of group 1 has layout torch.sparse_coo",
        ),
        (
            lambda m: setattr(m[3].weight, "data", torch.ones(5, 24)[:, ::2]),
            LayoutError,
            r"parameter 1 of group 1 has strides \(24, 2\)",
        ),
        (
            lambda m: setattr(m[3].weight, "data", torch.ones(5, 11)),
            ValueError,
            r"gradient of parameter 1 of group 1 is .*\(5, 12\) .*\(5, 11\)",
        ),
        (
            lambda m: setattr(m[3].weight.grad, "data", torch.ones(5, 12).half()),
            ValueError,
            r"gradient of parameter 1 of group 1 is torch.float16",
        ),
    ],
)
@both_kinds
def test_a_refused_step_changes_nothing(kind, spoil, error, message, monkeypatch):
    """Not even the group that comes before the fault."""
    model = net()
    groups = [
        {"params": [model[0].weight]},
        {"params": [model[1].weight, model[3].weight, model[3].bias]},
    ]
    optimizer = kind.ours(groups, **kind.heavy)
    set_gradients([model], 0)
    spoil(model)
    before, state = bytes_of(model), copy.deepcopy(optimizer.state_dict())
    monkeypatch.setattr(kind.unchecked, unused)
    with pytest.raises(error, match=message):
        optimizer.step()
    assert bytes_of(model) == before
    assert optimizer.state_dict() == state


@both_kinds
def test_a_masked_parameter_cannot_become_float64(kind):
    model = net()
    optimizer = kind.ours(model.named_parameters(), masks=pruned(model))
    model.double()
    set_gradients([model], 0)
    before = bytes_of(model)
    with pytest.raises(TypeError, match=r"\(0.weight\).*float64"):
        optimizer.step()
    assert bytes_of(model) == before


@pytest.mark.parametrize(
    ("param", "error", "message"),
    [
        (torch.ones(3).cfloat(), TypeError, "parameter 1 of group 0 has dtype torch.complex64"),
        (torch.ones(3).to_sparse(), NotImplementedError, "parameter 1 of group 0 has layout"),
        (torch.ones(3, 4)[:, ::2], LayoutError, r"parameter 1 of group 0 has strides \(4, 2\)"),
    ],
)
@both_kinds
def test_parameters_that_cannot_be_stepped(kind, param, error, message):
    good = nn.Parameter(torch.ones(2))
    with pytest.raises(error, match=message):
        kind.ours([good, nn.Parameter(param)])
    optimizer = kind.ours([good])
    with pytest.raises(error, match=message.replace("1 of group 0", "0 of group 1")):
        optimizer.add_param_group({"params": [nn.Parameter(param)]})
    assert len(optimizer.param_groups) == 1


@both_kinds
def test_a_state_of_another_shape_is_refused(kind):
    model, wide = nn.Linear(3, 4), nn.Linear(1, 4)
    other = kind.theirs(wide.parameters(), **kind.heavy)
    set_gradients([wide], 0)
    other.step()
    optimizer = kind.ours(model.parameters(), **kind.heavy)
    optimizer.load_state_dict(other.state_dict())
    set_gradients([model], 0)
    before = bytes_of(model)
    with pytest.raises(ValueError, match=r"shape \(4, 1\), its parameter \(4, 3\)"):
        optimizer.step()
    assert bytes_of(model) == before
