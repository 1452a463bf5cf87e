"""Routes lead to the very parameters that a model holds, natively and in Python."""

from __future__ import annotations

import pytest
from library_cases import net
from torch import nn

from impcore import _C, parameter_paths

NAMES = ["conv1.weight", "fc.weight", "fc.bias"]


def test_they_lead_to_the_very_objects() -> None:
    model = net()
    routes = parameter_paths.find(NAMES)
    native = _C.ParameterPaths(*routes)
    found = parameter_paths.walk(model, *routes)
    assert [id(p) for p in found] == [id(model.get_parameter(name)) for name in NAMES]
    assert [id(p) for p in found] == [id(parameter_paths.parameter(model, name)) for name in NAMES]
    assert native.lead_to(model, found)
    assert not native.lead_to(model, found[:2])
    assert not native.lead_to(model, [*found[:2], nn.Parameter(model.fc.bias.data)])
    assert not native.lead_to(nn.Linear(1, 1), found)
    model.fc.bias = None
    assert not native.lead_to(model, found)
    assert not native.lead_to(model, [*found[:2], object()])


def test_what_is_gone_is_no_parameter() -> None:
    model = net()
    routes = parameter_paths.find(NAMES)
    model.fc = None
    assert parameter_paths.parameter(model, "fc.weight") is None
    assert parameter_paths.parameter(model, "nosuch.weight") is None
    assert parameter_paths.parameter(model, "conv1.nosuch") is None
    with pytest.raises(AttributeError):
        parameter_paths.walk(model, *routes)
    del model.fc
    with pytest.raises(KeyError):
        parameter_paths.walk(model, *routes)
