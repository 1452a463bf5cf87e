"""Groups of parameters and their options, and what is refused before anything is stepped."""

import copy

import pytest
import torch
from torch import nn

from .cases import both_kinds, bytes_of, check_close, net, pruned, set_gradients, triple


@both_kinds
def test_parameter_groups_and_absent_gradients(kind):
    ours, theirs, _ = triple()
    optimizers = []
    for cls, model in ((kind.ours, ours), (kind.theirs, theirs)):
        optimizer = cls([{"params": [model[0].weight], **kind.heavy}], lr=0.1)
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
    check_close(ours, theirs)


@pytest.mark.parametrize("value", ["x", None])
@both_kinds
def test_an_option_that_is_no_number_is_named(kind, value):
    param = nn.Parameter(torch.ones(3))
    for name in {"lr", "weight_decay", "momentum", "dampening", "eps"} & kind.ours(
        [param]
    ).defaults.keys():
        with pytest.raises(TypeError, match=rf"{name} is {value!r}; it must be a number"):
            kind.ours([param], **{name: value})
        optimizer = kind.ours([param])
        with pytest.raises(TypeError, match=rf"{name} is {value!r}; it must be a number"):
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))], name: value})
        assert len(optimizer.param_groups) == 1


@both_kinds
def test_differentiable_is_refused(kind):
    with pytest.raises(NotImplementedError, match="differentiable is True"):
        kind.ours([nn.Parameter(torch.ones(3))], differentiable=True)


@both_kinds
@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("lr", "error", "message"),
    [
        (torch.ones(2), ValueError, r"lr has shape \(2,\); it must be one element"),
        ("x", TypeError, r"lr is 'x'; it must be a number"),
    ],
)
def test_an_option_that_is_not_one_number_is_refused_before_any_group_is_stepped(
    kind, stepped, place, lr, error, message
):
    model = net()
    groups = [{"params": list(layer.parameters())} for layer in (model[0], model[3])]
    optimizer = kind.ours(groups, masks=pruned(model), **kind.heavy)
    if stepped:
        set_gradients([model], 0)
        optimizer.step()
    set_gradients([model], 1)
    before, states = bytes_of(model), copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.param_groups[place]["lr"] = lr
    with pytest.raises(error, match=message):
        optimizer.step()
    assert bytes_of(model) == before
    after = optimizer.state_dict()["state"]
    assert after.keys() == states.keys()
    for key, kept in states.items():
        assert all(torch.equal(after[key][name], value) for name, value in kept.items())


@both_kinds
def test_groups_may_hold_what_is_no_option(kind):
    model = net()
    groups = [{"params": [p], "users_own": torch.ones(5)} for p in model.parameters()]
    optimizer = kind.ours(groups, masks=pruned(model), **kind.heavy)
    for step in range(2):
        set_gradients([model], step)
        before = bytes_of(model)
        optimizer.step()
        assert bytes_of(model) != before


@both_kinds
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_a_parameter_that_is_twice_in_a_group_is_refused(kind):
    a, b = (nn.Parameter(torch.ones(3)) for _ in range(2))
    with pytest.raises(ValueError, match="parameter 2 of group 0 is parameter 0 again"):
        kind.ours([a, b, a])
    optimizer = kind.ours([a])
    with pytest.raises(ValueError, match=r"parameter 1 of group 1 \(y\) is parameter 0 again"):
        kind.ours([{"params": [("z", a)]}, {"params": [("x", b), ("y", b)]}])
    with pytest.raises(ValueError, match="parameter 1 of group 1 is parameter 0 again"):
        optimizer.add_param_group({"params": [b, b]})
    assert [group["params"] for group in optimizer.param_groups] == [[a]]
