"""MaskedSGD: every combination of its options, and the momentum's first step."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from impcore import MaskedSGD

from .cases import (
    SGD,
    check_close,
    check_refused,
    errors_of_a_run,
    net,
    set_gradients,
    through_a_file,
)

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


def ids(options):
    return ", ".join(f"{k}={v}" for k, v in options.items() if v) or "plain"


@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_all_ones_masks_give_sgd(options, tensor_lr):
    """Over 100 steps no further from a float64 run than twice what torch.optim.SGD is."""
    lr = torch.tensor(0.03) if tensor_lr else 0.03
    ours, theirs = errors_of_a_run(SGD, 100, lr=lr, **options)
    assert 0 < theirs < 1e-4
    assert ours <= 2 * theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", OPTIONS[::5], ids=ids)
def test_half_types_round_once(dtype, options):
    ours, theirs = errors_of_a_run(SGD, 30, dtype, lr=0.03, **options)
    assert ours <= 2 * theirs


def test_a_flag_is_not_shared_with_those_that_a_taken_step_leaves_out():
    """The first step is skipped; then only one of two parameters has a gradient."""
    models = [nn.ParameterList([torch.ones(3), torch.ones(2)]) for _ in range(2)]
    optimizers = [
        MaskedSGD(models[0].parameters(), **SGD.heavy),
        torch.optim.SGD(models[1].parameters(), **SGD.heavy),
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
    check_close(*models)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_a_file])
def test_a_copy_knows_that_the_first_step_is_still_to_come(copied):
    """After a skipped step, with dampening."""
    model = net()
    optimizer = MaskedSGD(model.parameters(), **SGD.heavy)
    set_gradients([model], 0)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    twin, twin_optimizer = copied((model, optimizer))
    fresh = torch.optim.SGD(model.parameters(), **SGD.heavy)
    set_gradients([model, twin], 1)
    fresh.step()
    twin_optimizer.step()
    check_close(model, twin)


@pytest.mark.parametrize(
    ("options", "message", "torch_too"),
    [
        ({"lr": -0.1}, "lr is -0.1", True),
        ({"lr": math.nan}, "lr is nan", False),
        ({"lr": torch.ones(2)}, r"lr has shape \(2,\)", True),
        ({"momentum": -1}, "momentum is -1", True),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001", True),
        ({"weight_decay": torch.ones(2)}, r"weight_decay has shape \(2,\)", False),
        ({"nesterov": True}, "nesterov needs momentum > 0 and dampening 0, not 0 and 0", True),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "not 0.9 and 0.1", True),
    ],
)
def test_options_are_checked_as_torch_does(options, message, torch_too):
    check_refused(SGD, options, message, torch_too)
