from fractions import Fraction

import numpy as np
import pytest
import torch

from impcore.optim.options import Scalars, check_number, check_numbers

CPU = torch.device("cpu")


def test_an_option_keeps_its_tensor_and_follows_its_value():
    scalars, group, other = Scalars(), {}, {}
    lr, decay = scalars.of(group, CPU, lr=0.1, weight_decay=0.1)
    assert lr is not decay
    for scalar in (lr, decay):
        assert (scalar.item(), scalar.dtype, scalar.shape) == (0.1, torch.float64, ())
    for value in (0.1, 0.2, 1, 0.2):
        again = scalars.of(group, CPU, lr=value, weight_decay=0.1)
        assert (again[0] is lr, again[1] is decay) == (True, True)
        assert (lr.item(), decay.item()) == (value, 0.1)
    assert [scalar.item() for scalar in scalars.of(other, CPU, lr=0.3)] == [0.3]
    assert lr.item() == 0.2


def test_a_number_that_was_a_tensor_meanwhile_is_followed(monkeypatch):
    """And compared with no tensor, which would be read back for that."""
    scalars, group = Scalars(), {}
    lr, decay = scalars.of(group, CPU, lr=0.1, weight_decay=0.1)
    monkeypatch.setattr(torch.Tensor, "__eq__", None)
    given = torch.tensor(0.5, dtype=torch.float64)
    own, same = scalars.of(group, CPU, lr=given, weight_decay=0.2)
    assert (own.item(), same is decay, decay.item()) == (0.5, True, 0.2)
    found = scalars.of(group, CPU, lr=0.1, weight_decay=0.2)
    assert (found[0] is lr, found[1] is decay, lr.item()) == (True, True, 0.1)


def test_scalars_are_in_their_options_order_whichever_was_kept_first():
    scalars, group = Scalars(), {}
    scalars.of(group, CPU, lr=torch.tensor(0.5), weight_decay=0.2)
    for _ in range(2):
        found = scalars.of(group, CPU, lr=0.1, weight_decay=0.2)
        assert [scalar.item() for scalar in found] == [0.1, 0.2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_a_tensor_is_the_users_own_where_kernels_can_read_it(dtype):
    given = torch.ones((), dtype=dtype, requires_grad=dtype.is_floating_point)
    (found,) = Scalars().of({}, CPU, lr=given)
    assert not found.requires_grad
    assert found.dtype == (torch.float32 if dtype == torch.float32 else torch.float64)
    same = found.data_ptr() == given.data_ptr()
    assert same == (dtype in (torch.float32, torch.float64))


@pytest.mark.parametrize("value", [0, 0.5, torch.tensor([0.5]), torch.tensor(0)])
def test_numbers_from_0_on_are_options(value):
    check_number("lr", value)
    check_number("betas[0]", value, below=1)


@pytest.mark.parametrize(
    ("value", "below", "message"),
    [
        (-1, None, r"lr is -1; it must be at least 0$"),
        (float("nan"), None, r"lr is nan"),
        (1.0, 1, r"lr is 1\.0; it must be at least 0 and below 1$"),
        (torch.ones(2), None, r"lr has shape \(2,\); it must be one element"),
    ],
)
def test_others_are_refused(value, below, message):
    with pytest.raises(ValueError, match=message):
        check_number("lr", value, below)


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), Fraction(1, 2), 1])
def test_what_is_a_number_to_torch_is_one(value):
    check_numbers({"lr": value}, ["lr"])
    scalars, group = Scalars(), {}
    for given in (0.25, value, value):
        (scalar,) = scalars.of(group, CPU, lr=given)
    assert (scalar.dtype, scalar.item()) == (torch.float64, float(value))


def test_what_was_put_in_later_must_be_a_number():
    with pytest.raises(TypeError, match=r"lr is 'x'; it must be a number or a tensor of one elem"):
        Scalars().of({}, CPU, lr="x")


@pytest.mark.parametrize("size", [0, 2])
def test_a_tensor_that_was_put_in_later_must_be_one_element(size):
    with pytest.raises(ValueError, match=rf"lr has shape \({size},\); it must be one element"):
        Scalars().of({}, CPU, lr=torch.ones(size))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": torch.ones(2)}, ValueError, r"lr has shape \(2,\)"),
        ({"betas": (0.5, torch.ones(0))}, ValueError, r"betas\[1\] has shape \(0,\)"),
        ({"weight_decay": torch.ones(1, 3)}, ValueError, r"weight_decay has shape \(1, 3\)"),
        ({"lr": "x"}, TypeError, r"lr is 'x'; it must be a number or a tensor of one element"),
        ({"betas": (0.5, None)}, TypeError, r"betas\[1\] is None; it must be a number"),
        ({"betas": (0.5,)}, ValueError, r"betas are \(0.5,\); they must be two numbers"),
        ({"betas": 0.5}, ValueError, r"betas are 0.5; they must be two numbers"),
        ({"lr": np.ones(2)}, TypeError, r"lr is array\(\[1\., 1\.\]\); it must be a number"),
    ],
)
def test_a_group_is_searched_for_what_is_not_one_number(options, error, message):
    group = {"params": [torch.ones(2)], "lr": torch.tensor(0.1), "betas": (0.5, torch.ones(1))}
    group |= {"users_own": torch.ones(2), "foreach": None, "weight_decay": np.float32(0.1)}
    names = ["lr", "betas", "weight_decay", "foreach"]
    check_numbers(group, names)
    with pytest.raises(error, match=message):
        check_numbers(group | options, names)
