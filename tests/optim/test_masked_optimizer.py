"""What masked optimisers share: masks, PyTorch's ways of driving an optimiser, copies, hooks."""

import copy
import math
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from impcore import Masks
from impcore.errors import ModelChangedError

from .cases import (
    both_kinds,
    bytes_of,
    check_close,
    check_dead,
    net,
    pruned,
    set_gradients,
    triple,
)


@both_kinds
def test_beside_what_torchs_have_only_the_masks_are_public(kind):
    ours, theirs = (make(net().parameters(), lr=0.1) for make in (kind.ours, kind.theirs))
    more = set(dir(ours)) - set(dir(theirs))
    assert {name for name in more if not name.startswith("_")} == {"masks"}


# Masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heavy", [False, True])
@both_kinds
def test_pruned_weights_and_states_stay_zero(kind, heavy, dtype):
    """Alive weights go as without masks; dead gradients may be anything."""
    options = kind.heavy if heavy else {"lr": 0.03}
    ours, theirs, _ = triple(dtype)
    masks = pruned(ours)
    theirs.load_state_dict(ours.state_dict())
    mine = kind.ours(ours.parameters(), masks=masks, **options)
    other = kind.ours(theirs.parameters(), **options)
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


@both_kinds
def test_a_prune_clears_the_states_in_the_next_step(kind):
    model = net()
    masks = Masks(model)
    optimizer = kind.ours(model.parameters(), masks=masks, **kind.heavy)
    set_gradients([model], 0)
    optimizer.step()
    masks["0.weight"] = torch.rand(3, 2, 3, 3) < 0.5
    set_gradients([model], 1)
    optimizer.step()
    check_dead(masks, optimizer)
    assert optimizer.state[model[0].weight][kind.state].any()


@both_kinds
def test_released_masks_let_weights_grow_back(kind):
    model = net()
    masks = pruned(model)
    dead = ~masks["3.weight"]
    optimizer = kind.ours(model.parameters(), masks=masks)
    masks.release()
    set_gradients([model], 0)
    optimizer.step()
    assert model[3].weight[dead].all()


@both_kinds
def test_the_post_step_hook_leaves_the_optimiser_alone(kind, monkeypatch):
    model = net()
    masks, applied = pruned(model), []
    monkeypatch.setattr(Masks, "apply_to", lambda self, _: applied.append(self))
    for optimizer, times in (
        (kind.ours(model.parameters(), masks=masks), 0),
        (kind.ours(model.parameters()), 1),
    ):
        applied.clear()
        set_gradients([model], 0)
        optimizer.step()
        assert applied == [masks] * times


@both_kinds
def test_masks_must_be_masks(kind):
    model = net()
    with pytest.raises(TypeError, match=r"masks must be impcore\.Masks or None, not dict"):
        kind.ours(model.parameters(), masks={"0.weight": torch.ones(3)})


@both_kinds
def test_masks_of_another_model_are_told_of(kind):
    model = net()
    masks = pruned(model)
    with pytest.warns(
        UserWarning, match=r"masks= covers none of .* are they another model's"
    ) as met:
        kind.ours(net().parameters(), masks=masks)
    assert met[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind.ours(model.parameters(), masks=masks)
        kind.ours(net().parameters())


# As PyTorch drives an optimiser


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
@both_kinds
def test_schedulers(kind, scheduler, tensor_lr):
    """OneCycleLR also changes the momentum or beta1."""
    ours, theirs, _ = triple()
    options = {**kind.heavy, "lr": torch.tensor(0.1) if tensor_lr else 0.1}
    optimizers = [
        cls(m.parameters(), **copy.deepcopy(options))
        for cls, m in ((kind.ours, ours), (kind.theirs, theirs))
    ]
    schedulers = [scheduler(o) for o in optimizers]
    for step in range(10):
        set_gradients([ours, theirs], step)
        for optimizer, schedule in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            schedule.step()
        rates = [float(o.param_groups[0]["lr"]) for o in optimizers]
        assert rates[0] == rates[1]
    check_close(ours, theirs)


@both_kinds
def test_a_closure_runs_with_gradients_and_its_loss_returns(kind):
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
    for cls, model in ((kind.ours, ours), (kind.theirs, theirs)):
        optimizer = cls(model.parameters(), lr=0.01)
        losses.append([optimizer.step(closure_of(model, optimizer)).item() for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]
    assert ours.scalar.grad is None  # it takes no part, and was left out


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1), torch.tensor([0.1]).double()])
@both_kinds
def test_a_rate_that_changes_is_followed(kind, rate):
    """A float by assignment, a tensor also in place."""
    rate = copy.deepcopy(rate)
    param = nn.Parameter(torch.zeros(()))
    optimizer = kind.ours([param], lr=rate, weight_decay=0)
    param.grad = torch.ones(())
    optimizer.step()
    if isinstance(rate, torch.Tensor):
        rate.fill_(0.4)
    else:
        optimizer.param_groups[0]["lr"] = 0.4
    optimizer.step()
    assert float(param.detach()) == pytest.approx(-0.5)


@both_kinds
def test_a_gradient_that_is_negated_only_when_used(kind):
    """As that of an imaginary part behind a conjugate; the first step makes the states."""
    ours, theirs = (nn.Parameter(torch.tensor(0.7)) for _ in range(2))
    mine, other = kind.ours([ours], lr=0.1), kind.theirs([theirs], lr=0.1)
    for _ in range(3):
        for param, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            (torch.complex(torch.zeros(()), param).conj() * (0.5 + 0.2j)).real.backward()
            assert param.grad.is_neg()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@both_kinds
def test_a_gradient_of_zeros_without_memory(kind):
    """As what a product with PyTorch's efficient zeros passes back."""
    ours, theirs = (nn.Parameter(torch.tensor([0.7, -0.2])) for _ in range(2))
    mine, other = kind.ours([ours], **kind.heavy), kind.theirs([theirs], **kind.heavy)
    for step in range(4):
        for param, optimizer in ((ours, mine), (theirs, other)):
            factor = torch.ones(2) if step == 2 else torch._efficientzerotensor(2)
            optimizer.zero_grad()
            (param * factor).sum().backward()
            assert param.grad._is_zerotensor() == (step != 2)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@both_kinds
@pytest.mark.parametrize("stepped", [False, True])
def test_a_parameter_that_is_negated_only_when_used_is_refused(kind, stepped):
    param = nn.Parameter(torch.tensor(0.7))
    optimizer = kind.ours([param], lr=0.1)
    if stepped:
        param.grad = torch.ones(())
        optimizer.step()
    param.data = torch.complex(torch.zeros(()), torch.ones(())).conj().imag
    param.grad = torch.ones(())
    assert param.is_neg()
    with pytest.raises(NotImplementedError, match=r"parameter 0 of group 0 is negated"):
        optimizer.step()
    assert param.item() == -1
    with pytest.raises(NotImplementedError, match=r"parameter 0 of group 0 is negated"):
        kind.ours([param], lr=0.1)


@both_kinds
def test_layers_that_were_tied_later_are_noticed(kind):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = kind.ours(model.parameters(), masks=pruned(model))
    set_gradients([model], 0)
    optimizer.step()
    optimizer.zero_grad()
    model[1].weight = model[0].weight
    model(torch.ones(2, 4)).sum().backward()
    before = bytes_of(model)
    with pytest.raises(ModelChangedError, match=r"1\.weight was tied to None, is tied to 0"):
        optimizer.step()
    assert bytes_of(model) == before


@both_kinds
def test_a_step_between_forward_and_backward_is_noticed(kind):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = kind.ours(model.parameters(), masks=Masks(model))
    loss = model(torch.randn(5, 3)).sum()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@both_kinds
def test_a_layer_that_was_replaced_is_masked_or_missed(kind):
    model = net()
    masks = pruned(model)
    old = kind.ours(model.parameters(), masks=masks, **kind.heavy)
    set_gradients([model], 0)
    old.step()
    model[3] = nn.Linear(12, 5)
    new = kind.ours(model.parameters(), masks=masks, **kind.heavy)
    for seed in range(3):  # the first one makes the states
        set_gradients([model], seed)
        new.step()
        assert not model[3].weight[~masks["3.weight"]].any()
        assert model[3].weight.count_nonzero() == masks["3.weight"].sum()
    model[3] = nn.Linear(12, 4)
    new.zero_grad()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = bytes_of(model)
    with pytest.raises(ModelChangedError, match=r"3\.weight was \(5, 12\), is \(4, 12\)"):
        new.step()
    assert bytes_of(model) == before


@both_kinds
@pytest.mark.parametrize("stepped", [False, True])
def test_data_of_another_shape_is_refused(kind, stepped):
    model = net()
    optimizer = kind.ours(model.parameters(), masks=pruned(model))
    if stepped:
        set_gradients([model], 0)
        optimizer.step()
    model[3].weight.data = torch.randn(500, 12)  # more rows than there are mask bits
    set_gradients([model], 1)
    before = bytes_of(model)
    with pytest.raises(ModelChangedError, match=r"3\.weight was \(5, 12\), is \(500, 12\)"):
        optimizer.step()
    assert bytes_of(model) == before


@both_kinds
def test_hooks_run_and_gradients_are_cleared(kind):
    model, calls = net(), []
    optimizer = kind.ours(model.parameters(), masks=Masks(model))
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


def test_the_compiler_is_not_imported():
    """It takes a second, which every start of a training would take longer."""
    script = """
import sys, torch, impcore
model = torch.nn.Linear(3, 2)
masks = impcore.Masks(model)
for kind in (impcore.MaskedSGD, impcore.MaskedAdamW):
    optimizer = kind(model.parameters(), masks=masks)
    optimizer.add_param_group({"params": [torch.ones(2, requires_grad=True)]})
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
