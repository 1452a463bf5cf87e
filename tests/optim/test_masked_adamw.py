"""MaskedAdamW: every combination of its options, and its counts of steps."""

import itertools
import math

import pytest
import torch
from torch import nn

from impcore import MaskedAdamW

from .cases import ADAMW, check_close, check_refused, errors_of_a_run, net, set_gradients

OPTIONS = [
    {
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    for betas, eps, weight_decay, amsgrad, maximize in itertools.product(
        ((0.9, 0.999), (0.4, 0.6)), (1e-8, 1e-2), (0, 0.1), (False, True), (False, True)
    )
]


def ids(options):
    return ", ".join(f"{k}={v}" for k, v in options.items())


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_all_ones_masks_give_adamw(options, tensors):
    """Over 100 steps no further from a float64 run than twice what torch.optim.AdamW is."""
    options = {"lr": 0.03, **options}
    if tensors:
        betas = tuple(torch.tensor(b, dtype=torch.float64) for b in options["betas"])
        options |= {"lr": torch.tensor(0.03), "betas": betas}
    ours, theirs = errors_of_a_run(ADAMW, 100, **options)
    assert 0 < theirs < 1e-4
    assert ours <= 2 * theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", OPTIONS[::5], ids=ids)
def test_half_types_round_once(dtype, options):
    options = {**options, "eps": max(options["eps"], 1e-4)}  # smaller ones are 0 in float16
    ours, theirs = errors_of_a_run(ADAMW, 30, dtype, lr=0.03, **options)
    assert ours <= 2 * theirs


@pytest.mark.parametrize("betas", [(0.9, 0.99), [torch.tensor([0.9]), torch.tensor([0.99])]])
def test_betas_that_change_are_followed(betas):
    ours, theirs = net(), net()
    optimizers = [
        MaskedAdamW(ours.parameters(), betas=tuple(betas)),
        torch.optim.AdamW(theirs.parameters(), betas=(0.9, 0.99)),
    ]
    for step in range(4):
        set_gradients([ours, theirs], step)
        for optimizer in optimizers:
            group = optimizer.param_groups[0]
            if isinstance(group["betas"][0], torch.Tensor):
                group["betas"][0].fill_(0.9 - 0.1 * step)
            else:
                group["betas"] = (0.9 - 0.1 * step, 0.99)
            optimizer.step()
    check_close(ours, theirs)


def test_steps_are_counted_one_by_one():
    """A float32 tensor each; a step without a gradient or a skipped one does not count."""
    params = [nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = MaskedAdamW(params)
    for step in range(6):
        for i, param in enumerate(params):
            param.grad = torch.ones(3) if step >= i else None
        optimizer.found_inf = torch.tensor(float(step == 4))
        optimizer.step()
    steps = [optimizer.state[p]["step"] for p in params]
    assert [float(s) for s in steps] == [5, 4, 3]
    assert {(s.dtype, s.shape) for s in steps} == {(torch.float32, ())}
    assert len({s.data_ptr() for s in steps}) == 3


@pytest.mark.parametrize("size", [0, 2])
def test_a_count_that_is_no_number_is_refused(size):
    param = nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    optimizer = MaskedAdamW([param])
    optimizer.step()
    optimizer.state[param]["step"] = torch.ones(size)
    before = param.detach().clone()
    with pytest.raises(ValueError, match=rf"step has shape \({size},\)"):
        optimizer.step()
    assert torch.equal(param, before)


def test_a_skipped_first_step_leaves_states_of_zeros():
    model = net()
    optimizer = MaskedAdamW(model.parameters(), **ADAMW.heavy)
    set_gradients([model], 0)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    states = [v for state in optimizer.state.values() for v in state.values()]
    assert len(states) == 4 * len(list(model.parameters()))
    assert not any(v.any() for v in states)


def test_amsgrad_can_be_switched_on_later():
    param = nn.Parameter(torch.ones(4))
    optimizer = MaskedAdamW([param])
    for step in range(3):
        param.grad = torch.full((4,), 4.0 - step)
        optimizer.step()
        optimizer.param_groups[0]["amsgrad"] = True
    state = optimizer.state[param]
    assert torch.equal(state["max_exp_avg_sq"], state["exp_avg_sq"])


@pytest.mark.parametrize("old", [float, torch.Tensor.double])
def test_states_of_older_versions_are_taken_over(old):
    """Steps were numbers before PyTorch 1.12, and are float64 under that default dtype."""
    straight, resumed = net(), net()
    first = torch.optim.AdamW(straight.parameters(), **ADAMW.heavy)
    second = torch.optim.AdamW(resumed.parameters(), **ADAMW.heavy)
    for step in range(4):
        if step == 2:
            state = second.state_dict()
            for values in state["state"].values():
                values["step"] = old(values["step"])
            second = MaskedAdamW(resumed.parameters())
            second.load_state_dict(state)
        set_gradients([straight, resumed], step)
        first.step()
        second.step()
    check_close(resumed, straight)
    assert {float(s["step"]) for s in second.state.values()} == {4}
    assert {s["step"].dtype for s in second.state.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "message", "torch_too"),
    [
        ({"lr": -0.1}, "lr is -0.1", True),
        ({"lr": torch.ones(2)}, r"lr has shape \(2,\)", True),
        ({"eps": -1e-8}, "eps is -1e-08; it must be at least 0", True),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001", True),
        ({"betas": (1.0, 0.9)}, r"betas\[0\] is 1.0; it must be at least 0 and below 1", True),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] is -0.1", True),
        ({"betas": (0.9, math.nan)}, r"betas\[1\] is nan", True),
        ({"betas": (0.9, torch.tensor(0.9))}, "must be two numbers or two tensors", True),
        ({"betas": (torch.rand(2), torch.rand(1))}, r"betas\[0\] has shape \(2,\)", False),
        ({"betas": (0.9, 0.9, 0.9)}, "must be two numbers or two tensors", False),
    ],
)
def test_options_are_checked_as_torch_does(options, message, torch_too):
    check_refused(ADAMW, options, message, torch_too)
