from __future__ import annotations

import pytest
import torch
from torch import nn

from impcore.rewind_source import aligned


def _parameter() -> nn.Parameter:
    return nn.Parameter(torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last))


def test_a_source_comes_in_its_parameter_s_layout_with_its_bits() -> None:
    parameter, value = _parameter(), torch.randn(4, 3, 2, 2)
    (found,) = aligned(["w"], [parameter], {"w": value, "other": value})
    assert found.stride() == parameter.stride()
    assert torch.equal(found, value)
    assert not found.requires_grad


def test_what_is_laid_out_likewise_is_not_copied() -> None:
    value = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    (found,) = aligned(["w"], [_parameter()], {"w": value})
    assert found.data_ptr() == value.data_ptr()


REFUSED = {
    "lacks 'w'": (KeyError, lambda p: {}),
    "must be a dense tensor with data, not list": (TypeError, lambda p: {"w": [0.0]}),
    "has shape": (ValueError, lambda p: {"w": torch.zeros(4)}),
    "is torch.float64": (TypeError, lambda p: {"w": p.detach().double()}),
    "the parameter itself": (ValueError, lambda p: {"w": p.data}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_by_name(message: str) -> None:
    error, source = REFUSED[message]
    parameter = _parameter()
    with pytest.raises(error, match=message):
        aligned(["w"], [parameter], source(parameter))
