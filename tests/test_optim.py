"""MaskedSGD against torch.optim.SGD, and with masks."""

import copy
import itertools
import math

import pytest
import torch
from optim_cases import check_dead, error, net, pruned, set_gradients
from torch import nn

from impcore import MaskedSGD, Masks

OPTIONS = [
    {
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    for momentum, dampening, weight_decay, nesterov, maximize in itertools.product(
        (0, 0.9), (0, 0.1), (0, 1e-2), (False, True), (False, True)
    )
    if not nesterov or (momentum and not dampening)
]
HEAVY = {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2}


def ids(options):
    return ", ".join(f"{k}={v}" for k, v in options.items() if v) or "plain"


def triple(dtype=torch.float32):
    """The same model three times: for us, for torch, and in float64 from the same values."""
    ours = net(dtype=dtype)
    return ours, copy.deepcopy(ours), copy.deepcopy(ours).double()


@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_all_ones_masks_give_sgd(options, tensor_lr):
    """Over 100 steps no further from a float64 run than twice what torch.optim.SGD is."""
    ours, theirs, exact = triple()
    lr = torch.tensor(0.03) if tensor_lr else 0.03
    mine = MaskedSGD(ours.parameters(), lr, masks=Masks(ours), **options)
    others = [torch.optim.SGD(m.parameters(), lr, **options) for m in (theirs, exact)]
    for step in range(100):
        set_gradients([ours, theirs, exact], step)
        for optimizer in (mine, *others):
            optimizer.step()
    assert 0 < error(theirs, exact) < 1e-4
    assert error(ours, exact) <= 2 * error(theirs, exact)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", OPTIONS[::5], ids=ids)
def test_half_types_round_once(dtype, options):
    ours, theirs, exact = triple(dtype)
    mine = MaskedSGD(ours.parameters(), 0.03, masks=Masks(ours), **options)
    others = [torch.optim.SGD(m.parameters(), 0.03, **options) for m in (theirs, exact)]
    for step in range(30):
        set_gradients([ours, theirs, exact], step)
        for optimizer in (mine, *others):
            optimizer.step()
    assert error(ours, exact) <= 2 * error(theirs, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_pruned_weights_and_momenta_stay_zero(options, dtype):
    """Alive weights go as in SGD whose gradients are masked; dead gradients may be anything."""
    ours, theirs, _ = triple(dtype)
    masks = pruned(ours)
    theirs.load_state_dict(ours.state_dict())
    mine = MaskedSGD(ours.parameters(), 0.03, masks=masks, **options)
    other = MaskedSGD(theirs.parameters(), 0.03, **options)
    for step in range(10):
        set_gradients([ours, theirs], step)
        named = dict(theirs.named_parameters())
        for name, param in zip(masks.names, masks.parameters, strict=True):
            dead = ~masks[name]
            param.grad[dead] = (math.nan, math.inf, 1.0)[step % 3]
            named[name].grad[dead] = 0
        mine.step()
        other.step()
        check_dead(masks, mine)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_prune_clears_the_momentum_in_the_next_step():
    model = net()
    masks = Masks(model)
    optimizer = MaskedSGD(model.parameters(), 0.1, momentum=0.9, masks=masks)
    set_gradients([model], 0)
    optimizer.step()
    masks["0.weight"] = torch.rand(3, 2, 3, 3) < 0.5
    set_gradients([model], 1)
    optimizer.step()
    check_dead(masks, optimizer)
    assert optimizer.state[model[0].weight]["momentum_buffer"].any()


def test_released_masks_let_weights_grow_back():
    model = net()
    masks = pruned(model)
    dead = ~masks["3.weight"]
    optimizer = MaskedSGD(model.parameters(), 0.1, masks=masks)
    masks.release()
    set_gradients([model], 0)
    optimizer.step()
    assert model[3].weight[dead].all()


def test_the_post_step_hook_leaves_the_optimiser_alone(monkeypatch):
    model = net()
    masks, applied = pruned(model), []
    monkeypatch.setattr(Masks, "apply", lambda self: applied.append(self))
    for optimizer, times in (
        (MaskedSGD(model.parameters(), 0.1, masks=masks), 0),
        (MaskedSGD(model.parameters(), 0.1), 1),
    ):
        applied.clear()
        set_gradients([model], 0)
        optimizer.step()
        assert applied == [masks] * times


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 6]),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=12),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12),
    ],
    ids=["multi-step", "one-cycle", "cosine"],
)
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_schedulers(scheduler, tensor_lr):
    """OneCycleLR also changes the momentum."""
    ours, theirs, _ = triple()
    optimizers = [
        cls(m.parameters(), lr=torch.tensor(0.1) if tensor_lr else 0.1, momentum=0.9)
        for cls, m in ((MaskedSGD, ours), (torch.optim.SGD, theirs))
    ]
    schedulers = [scheduler(o) for o in optimizers]
    for step in range(10):
        set_gradients([ours, theirs], step)
        for optimizer, schedule in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            schedule.step()
        rates = [float(o.param_groups[0]["lr"]) for o in optimizers]
        assert rates[0] == rates[1]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_closure_runs_with_gradients_and_its_loss_returns():
    ours, theirs, _ = triple()
    x = torch.randn(4, 2, 4, 4)

    def closure_of(model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            return loss

        return closure

    losses = []
    for cls, model in ((MaskedSGD, ours), (torch.optim.SGD, theirs)):
        optimizer = cls(model.parameters(), lr=0.01, momentum=0.9)
        losses.append([optimizer.step(closure_of(model, optimizer)).item() for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]
    assert ours.scalar.grad is None  # it takes no part, and was left out


def test_parameter_groups_and_absent_gradients():
    ours, theirs, _ = triple()
    optimizers = []
    for cls, model in ((MaskedSGD, ours), (torch.optim.SGD, theirs)):
        optimizer = cls([{"params": [model[0].weight], "lr": 0.5, "momentum": 0.8}], lr=0.1)
        optimizer.add_param_group({"params": list(model[3].parameters()), "weight_decay": 0.1})
        optimizer.add_param_group({"params": [model.scalar, model.empty], "maximize": True})
        optimizers.append(optimizer)
    for step in range(6):
        set_gradients([ours, theirs], step)
        if step % 2:
            ours[0].weight.grad = theirs[0].weight.grad = None
        if step < 3:
            ours[3].bias.grad = theirs[3].bias.grad = None
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("classes", list(itertools.product((MaskedSGD, torch.optim.SGD), repeat=2)))
def test_state_dicts_are_interchangeable(classes):
    """Through a file; in every direction the run goes on as if nothing had happened."""
    straight, resumed = net(), net()
    first = torch.optim.SGD(straight.parameters(), **HEAVY)
    second = classes[0](resumed.parameters(), **HEAVY)
    for step in range(6):
        if step == 3:
            state = copy.deepcopy(second.state_dict())
            second = classes[1](resumed.parameters(), lr=7.0)
            second.load_state_dict(state)
        set_gradients([straight, resumed], step)
        first.step()
        second.step()
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert set(second.state_dict()["param_groups"][0]) == set(first.param_groups[0])


def test_a_resumed_run_is_the_same_to_the_bit():
    straight, resumed = net(), net()
    masks = [pruned(m) for m in (straight, resumed)]
    first = MaskedSGD(straight.parameters(), masks=masks[0], **HEAVY)
    second = MaskedSGD(resumed.parameters(), masks=masks[1], **HEAVY)
    for step in range(6):
        if step == 3:
            state = second.state_dict()
            second = MaskedSGD(resumed.parameters(), masks=masks[1], **HEAVY)
            second.load_state_dict(state)
        set_gradients([straight, resumed], step)
        first.step()
        second.step()
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "lr is -0.1"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": torch.ones(2)}, r"lr has shape \(2,\)"),
        ({"momentum": -1}, "momentum is -1"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"weight_decay": torch.ones(2)}, r"weight_decay has shape \(2,\)"),
        ({"nesterov": True}, "nesterov needs momentum > 0 and dampening 0, not 0 and 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "not 0.9 and 0.1"),
    ],
)
def test_options_are_checked_as_torch_does(options, message):
    params = [nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=message):
        MaskedSGD(params, **options)
    if not any(isinstance(v, torch.Tensor) or v != v for v in options.values()):
        with pytest.raises(ValueError, match=r".+"):
            torch.optim.SGD(params, **options)
    optimizer = MaskedSGD(params)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


def test_differentiable_is_refused():
    with pytest.raises(NotImplementedError, match="differentiable is True"):
        MaskedSGD([nn.Parameter(torch.ones(3))], differentiable=True)


def step_of(optimizer, backend="aot_eager"):
    return torch.compile(lambda: optimizer.step(), fullgraph=True, backend=backend)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True}, HEAVY], ids=ids)
def test_a_compiled_step_is_one_graph_and_the_same(options, masked):
    options = {"lr": 0.1, **options}
    ours, eager, _ = triple()
    optimizers = [
        MaskedSGD(m.parameters(), masks=pruned(m) if masked else None, **options)
        for m in (ours, eager)
    ]
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    step = step_of(optimizers[0])
    for i in range(4):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
    assert all(map(torch.equal, ours.parameters(), eager.parameters()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_compiled_step_follows_a_tensor_lr_and_a_prune_without_a_new_graph():
    ours, eager, _ = triple()
    rates = [torch.tensor(0.1), torch.tensor(0.1)]
    masks = [Masks(m) for m in (ours, eager)]
    optimizers = [
        MaskedSGD(m.parameters(), lr=rate, momentum=0.9, masks=k)
        for m, rate, k in zip((ours, eager), rates, masks, strict=True)
    ]
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    step = step_of(optimizers[0])
    for i in range(4):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
        for rate, mask in zip(rates, masks, strict=True):
            rate.mul_(0.5)
            mask["3.weight"] = torch.arange(60).view(5, 12) % (5 - i) != 0
    assert all(map(torch.equal, ours.parameters(), eager.parameters()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_step_follows_options_that_change(backend):
    """As a scheduler changes them; a number that changes may cost a few new graphs."""
    ours, eager, _ = triple()
    optimizers = [MaskedSGD(m.parameters(), masks=pruned(m), **HEAVY) for m in (ours, eager)]
    torch.compiler.reset()
    step = step_of(optimizers[0], backend)
    for i in range(4):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] *= 0.7
            optimizer.param_groups[0]["momentum"] *= 0.9
    assert all(map(torch.equal, ours.parameters(), eager.parameters()))


def test_a_step_between_forward_and_backward_is_noticed():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = MaskedSGD(model.parameters(), 0.1, masks=Masks(model))
    loss = model(torch.randn(5, 3)).sum()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
