import pytest
import torch

from impcore.optim.options import Scalars, check_number, check_tensors

CPU = torch.device("cpu")


def test_an_option_keeps_its_tensor_and_follows_its_value():
    scalars, group, other = Scalars(), {}, {}
    lr = scalars.of(group, "lr", 0.1, CPU)
    assert (lr.item(), lr.dtype, lr.shape) == (0.1, torch.float64, ())
    assert scalars.of(group, "lr", 0.1, CPU) is lr
    assert scalars.of(group, "lr", 0.2, CPU) is lr
    assert lr.item() == 0.2
    assert scalars.of(group, "weight_decay", 0.2, CPU) is not lr
    assert scalars.of(other, "lr", 0.3, CPU).item() == 0.3
    assert lr.item() == 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_a_tensor_is_the_users_own_where_kernels_can_read_it(dtype):
    given = torch.ones((), dtype=dtype, requires_grad=dtype.is_floating_point)
    found = Scalars().of({}, "lr", given, CPU)
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


@pytest.mark.parametrize("size", [0, 2])
def test_a_tensor_that_was_put_in_later_must_be_one_element(size):
    with pytest.raises(ValueError, match=rf"lr has shape \({size},\); it must be one element"):
        Scalars().of({}, "lr", torch.ones(size), CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": torch.ones(2)}, r"lr has shape \(2,\)"),
        ({"betas": (0.5, torch.ones(0))}, r"betas has shape \(0,\)"),
        ({"weight_decay": torch.ones(1, 3)}, r"weight_decay has shape \(1, 3\)"),
    ],
)
def test_a_group_is_searched_for_tensors_of_several_elements(options, message):
    group = {"params": [torch.ones(2)], "lr": torch.tensor(0.1), "betas": (0.5, torch.ones(1))}
    check_tensors(group)
    with pytest.raises(ValueError, match=message):
        check_tensors(group | options)
