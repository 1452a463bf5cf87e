"""What the optimisers' CUDA kernels share: the CPU's bits, any number of tensors, anywhere."""

import numpy as np
import pytest
import torch

from .. import step_cases as cases
from ..step_cases import every_op

SPECIAL = [float("inf"), float("nan"), 0.0, -0.0, 1e-40, 3e38, -1.0]


def bits(case):
    """What a call wrote; which of two NaNs survives an operation is each backend's choice."""
    flat = [cases.flat(t) for row in case.lists() for t in row]
    return [np.where(np.isnan(t), np.nan, t).tobytes() for t in flat]


def both(case, monkeypatch):
    """The case after a step by the emulated kernels, and by the CPU's."""
    emulated = case.run()
    with monkeypatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "cpu")
        return emulated, case.run()


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.03, 0.9])
@every_op
def test_the_bits_are_the_cpu_s(make, dtype, density, monkeypatch):
    shapes = [(8192 + 33,), (3, 5), (), (0,), (40,)]
    case = make(dtype, shapes=shapes, density=density, grad_scale=torch.tensor(3.0))
    for row in case.lists()[:5]:
        for i, special in enumerate(SPECIAL if row else []):
            row[0][i :: 97 + i] = special
    got, want = both(case, monkeypatch)
    assert bits(got) == bits(want)
    assert bits(got) != bits(case)


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=str)
@every_op
def test_more_tensors_than_one_launch_takes(make, dtype, monkeypatch):
    got, want = both(make(dtype, shapes=[(i % 40,) for i in range(500)]), monkeypatch)
    assert bits(got) == bits(want)


ROWS = [("sgd", row) for row in range(3)] + [("adamw", row) for row in range(5)]


@pytest.mark.parametrize(("name", "row"), ROWS)
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=str)
def test_one_list_that_is_not_aligned(name, row, dtype, monkeypatch):
    """Each list is read 16 bytes at once, or one by one, by itself."""
    case = cases.MAKERS[name](dtype, shapes=[(100,), (9000,)])
    tensors = case.lists()[row]
    tensors[:] = [torch.empty(t.numel() + 1, dtype=t.dtype)[1:].copy_(t) for t in tensors]
    monkeypatch.setattr(cases, "copy_of", _copy_with_its_alignment)
    assert any(t.data_ptr() % 16 for t in case.copy().lists()[row])
    got, want = both(case, monkeypatch)
    assert bits(got) == bits(want)


def _copy_with_its_alignment(tensor):
    shift = tensor.data_ptr() % 16 // tensor.element_size()
    if tensor.dim() != 1:
        return torch.empty_like(tensor).copy_(tensor)
    return torch.empty(tensor.numel() + shift, dtype=tensor.dtype)[shift:].copy_(tensor)
