"""What masked optimisers share: checks, layouts, GradScaler, copies, hooks."""

import copy
import io
import math

import pytest
import torch
from optim_cases import check_dead, net, pruned, set_gradients
from torch import nn

from impcore import MaskedSGD, Masks, masks_of
from impcore.errors import LayoutError

HEAVY = {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2}


def bytes_of(model):
    return [p.detach().numpy().tobytes() for p in model.parameters()]


# GradScaler


def scaled_run(cls, model, overflows, options, unscale):
    """Ten steps, some of which overflow: the scales, and after which steps there was no state."""
    optimizer = cls(model.parameters(), **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
    scaler.scale(torch.ones(()))  # the scaler makes its tensors when it is first used
    scales, empty = [], []
    for step in range(10):
        scale = scaler.get_scale()
        set_gradients([model], step)
        for p in model.parameters():
            p.grad.mul_(scale)
        if step in overflows:
            model[3].weight.grad[0, 0] = math.inf if step % 2 else math.nan
        before = bytes_of(model)
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        assert (bytes_of(model) == before) == (step in overflows)
        scaler.update()
        scales.append(scaler.get_scale())
        empty.append(not optimizer.state_dict()["state"])
    return scales, empty


@pytest.mark.parametrize("overflows", [(), (0,), (0, 1, 5), (4,)])
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("options", [{"lr": 0.1}, HEAVY, {"lr": 0.1, "momentum": 0.9}])
def test_skipped_steps_are_as_with_torch(overflows, unscale, options):
    """Also the state: until a step is taken there is none, and the first one is not dampened."""
    ours, theirs = net(), net()
    mine = scaled_run(MaskedSGD, ours, overflows, options, unscale)
    other = scaled_run(torch.optim.SGD, theirs, overflows, options, unscale)
    assert mine == other
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_gradients_are_unscaled_inside_the_pass():
    param = nn.Parameter(torch.zeros(3))
    optimizer = MaskedSGD([param], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(()))
    param.grad = torch.full((3,), 16.0)
    scaler.step(optimizer)
    assert param.tolist() == [-2.0] * 3
    assert param.grad.tolist() == [16.0] * 3


def test_the_device_decides_and_the_host_is_not_asked(monkeypatch):
    """With a scaler, steps read nothing back outside of the kernel's call."""
    model = net()
    optimizer = MaskedSGD(model.parameters(), masks=pruned(model), **HEAVY)
    set_gradients([model], 0)
    reads, kernel_reads = [], []
    monkeypatch.setattr("impcore.optim.unchecked", lambda *args: kernel_reads.append(args))
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def read(self, *args, original=original, name=name, **kwargs):
            reads.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
    optimizer.grad_scale, optimizer.found_inf = torch.full((), 2.0), torch.zeros(())
    optimizer.step()
    optimizer.step()
    assert reads == []
    assert len(kernel_reads) == 2


def test_a_flag_is_not_shared_with_those_that_a_taken_step_leaves_out():
    """The first step is skipped; then only one of two parameters has a gradient."""
    models = [nn.ParameterList([torch.ones(3), torch.ones(2)]) for _ in range(2)]
    optimizers = [
        MaskedSGD(models[0].parameters(), **HEAVY),
        torch.optim.SGD(models[1].parameters(), **HEAVY),
    ]
    scalers = [torch.amp.GradScaler("cpu", init_scale=1.0) for _ in range(2)]
    for step in range(4):
        set_gradients(models, step)
        for model, optimizer, scaler in zip(models, optimizers, scalers, strict=True):
            scaler.scale(torch.ones(()))
            scale = scaler.get_scale()
            for p in model.parameters():
                p.grad.mul_(scale)
            if step == 0:
                model[0].grad[0] = math.inf
            if step == 1:
                model[1].grad = None
            scaler.step(optimizer)
            scaler.update()
    for a, b in zip(models[0], models[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


# Layouts


def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 2))


def logical(model):
    return [p.detach().contiguous().clone() for p in model.parameters()]


@pytest.mark.parametrize("moment", [0, 2], ids=["from the start", "half way"])
def test_channels_last_is_the_same_run(moment):
    plain, moved = conv(), conv()
    masks = [pruned(m) for m in (plain, moved)]
    optimizers = [
        MaskedSGD(m.parameters(), masks=k, **HEAVY)
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
    buffer = optimizers[1].state[moved[0].weight]["momentum_buffer"]
    assert buffer.stride() == moved[0].weight.stride()


def test_a_state_of_another_layout_is_taken_over():
    plain, moved = conv(), conv().to(memory_format=torch.channels_last)
    first = torch.optim.SGD(plain.parameters(), **HEAVY)
    set_gradients([plain], 0)
    first.step()
    moved.load_state_dict(plain.state_dict())
    second = MaskedSGD(moved.parameters(), **HEAVY)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    set_gradients([plain, moved], 1)
    first.step()
    second.step()
    for a, b in zip(logical(plain), logical(moved), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_gradients_in_another_storage_order():
    ours, theirs = nn.Linear(3, 4), nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    for cls, model in ((MaskedSGD, ours), (torch.optim.SGD, theirs)):
        model.weight.grad = torch.arange(12.0).view(3, 4).t()
        cls(model.parameters(), lr=0.1).step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-6)
    assert ours.weight.grad.stride() == (1, 4)  # left as it was


@pytest.mark.parametrize("options", [HEAVY, {"lr": 0.1}])
def test_several_dtypes_in_one_group(options):
    """float32 parameters beside float64 and bfloat16 ones, one launch each."""
    params = [torch.ones(5, 7), torch.ones(3).double(), torch.ones(4).bfloat16()]
    ours, theirs = ([nn.Parameter(p.clone()) for p in params] for _ in range(2))
    optimizers = [MaskedSGD(ours, **options), torch.optim.SGD(theirs, foreach=False, **options)]
    for step in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad, b.grad = (torch.full_like(a, 0.1 * step - 0.15) for _ in range(2))
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=torch.finfo(a.dtype).eps * 4, atol=0)


def test_a_model_that_changes_its_dtype_takes_its_state_along():
    model = net()
    optimizer = MaskedSGD(model.parameters(), masks=pruned(model), **HEAVY)
    for step in range(3):
        set_gradients([model], step)
        optimizer.step()
        model.bfloat16()
    assert optimizer.state[model[0].weight]["momentum_buffer"].dtype == torch.bfloat16
    check_dead(masks_of(model), optimizer)


# What is refused


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
def test_a_refused_step_changes_nothing(spoil, error, message, monkeypatch):
    """Not even the group that comes before the fault."""
    model = net()
    groups = [
        {"params": [model[0].weight]},
        {"params": [model[1].weight, model[3].weight, model[3].bias]},
    ]
    optimizer = MaskedSGD(groups, **HEAVY)
    set_gradients([model], 0)
    spoil(model)
    before, state = bytes_of(model), copy.deepcopy(optimizer.state_dict())
    monkeypatch.setattr("impcore.optim.unchecked", unused)
    with pytest.raises(error, match=message):
        optimizer.step()
    assert bytes_of(model) == before
    assert optimizer.state_dict() == state


def test_a_masked_parameter_cannot_become_float64():
    model = net()
    optimizer = MaskedSGD(model.named_parameters(), masks=pruned(model), lr=0.1)
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
def test_parameters_that_cannot_be_stepped(param, error, message):
    good = nn.Parameter(torch.ones(2))
    with pytest.raises(error, match=message):
        MaskedSGD([good, nn.Parameter(param)])
    optimizer = MaskedSGD([good])
    with pytest.raises(error, match=message.replace("1 of group 0", "0 of group 1")):
        optimizer.add_param_group({"params": [nn.Parameter(param)]})
    assert len(optimizer.param_groups) == 1


def test_masks_must_be_masks():
    model = net()
    with pytest.raises(TypeError, match=r"masks must be impcore\.Masks or None, not dict"):
        MaskedSGD(model.parameters(), masks={"0.weight": torch.ones(3)})


def test_a_state_of_another_shape_is_refused():
    model, wide = nn.Linear(3, 4), nn.Linear(1, 4)
    other = torch.optim.SGD(wide.parameters(), **HEAVY)
    set_gradients([wide], 0)
    other.step()
    optimizer = MaskedSGD(model.parameters(), **HEAVY)
    optimizer.load_state_dict(other.state_dict())
    set_gradients([model], 0)
    before = bytes_of(model)
    with pytest.raises(ValueError, match=r"shape \(4, 1\), its parameter \(4, 3\)"):
        optimizer.step()
    assert bytes_of(model) == before


# Copies, hooks


def through_a_file(pair):
    buffer = io.BytesIO()
    torch.save(pair, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_a_file])
def test_a_copied_model_and_optimiser_go_on_alone(copied):
    model = net()
    optimizer = MaskedSGD(model.parameters(), masks=pruned(model), **HEAVY)
    set_gradients([model], 0)
    optimizer.step()
    twin, twin_optimizer = copied((model, optimizer))
    assert twin_optimizer.masks is masks_of(twin) is not masks_of(model)
    before = bytes_of(model)
    set_gradients([twin], 1)
    twin_optimizer.step()
    assert bytes_of(model) == before
    check_dead(masks_of(twin), twin_optimizer)
    set_gradients([model], 1)
    optimizer.step()
    assert bytes_of(model) == bytes_of(twin)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_a_file])
def test_a_copy_knows_that_the_first_step_is_still_to_come(copied):
    """After a skipped step, with dampening."""
    model = net()
    optimizer = MaskedSGD(model.parameters(), **HEAVY)
    set_gradients([model], 0)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    twin, twin_optimizer = copied((model, optimizer))
    fresh = torch.optim.SGD(model.parameters(), **HEAVY)
    set_gradients([model, twin], 1)
    fresh.step()
    twin_optimizer.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_hooks_run_and_gradients_are_cleared():
    model, calls = net(), []
    optimizer = MaskedSGD(model.parameters(), lr=0.1, masks=Masks(model))
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    set_gradients([model], 0)
    optimizer.step()
    assert calls == ["before", "after"]
    optimizer.zero_grad(set_to_none=False)
    assert not any(p.grad.any() for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    before = bytes_of(model)
    optimizer.step()  # nothing has a gradient
    assert bytes_of(model) == before


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1), torch.tensor([0.1]).double()])
def test_a_rate_that_changes_is_followed(rate):
    """A float by assignment, a tensor also in place."""
    param = nn.Parameter(torch.zeros(()))
    optimizer = MaskedSGD([param], lr=rate)
    param.grad = torch.ones(())
    optimizer.step()
    if isinstance(rate, torch.Tensor):
        rate.fill_(0.4)
    else:
        optimizer.param_groups[0]["lr"] = 0.4
    optimizer.step()
    assert float(param.detach()) == pytest.approx(-0.5)
