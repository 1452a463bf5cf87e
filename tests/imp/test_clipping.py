from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import impcore
from impcore.imp.clipping import clip


def pruned(channels_last: bool = False) -> tuple[nn.Module, impcore.Masks]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    if channels_last:
        model.to(memory_format=torch.channels_last)
    return model, impcore.prune_global(model, rate=0.5)


def backward(model: nn.Module) -> None:
    model(
        torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    ).square().sum().backward()


class Multiply(nn.Module):
    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("norm", [0.01, 1e9])
def test_equals_clipping_where_masks_are_multiplied_in_the_forward_pass(
    norm: float, channels_last: bool
) -> None:
    model, masks = pruned(channels_last)
    other, others = pruned()
    wanted = {name: others[name] for name in others}
    others.release()
    for name in wanted:
        layer = other.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(layer, "weight", Multiply(wanted[name]))
    backward(model)
    backward(other)
    before = clip(model, masks, norm)
    reference = torch.nn.utils.clip_grad_norm_(other.parameters(), norm)
    assert before.item() == pytest.approx(reference.item(), rel=1e-5)
    found = sorted(p.grad.norm().item() for p in model.parameters() if p.grad is not None)
    assert found == pytest.approx(
        sorted(p.grad.norm().item() for p in other.parameters() if p.grad is not None), rel=1e-4
    )
    assert (before.item() > norm) == (norm == 0.01)


def test_control_pruned_weights_would_count() -> None:
    model, masks = pruned()
    backward(model)
    whole = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert clip(model, masks, 1.0) < whole


def test_what_a_pruned_weights_gradient_holds_does_not_matter() -> None:
    model, masks = pruned()
    backward(model)
    expected = clip(model, masks, 1e9)
    for name in masks:
        grad = model.get_parameter(name).grad
        assert grad is not None
        grad[~masks[name]] = math.nan
    assert clip(model, masks, 1e9) == expected


def test_a_masked_parameter_without_a_gradient_is_left_without() -> None:
    model, masks = pruned()
    backward(model)
    model[2].weight.grad = None
    assert clip(model, masks, 0.1) > 0.1
    assert model[2].weight.grad is None


def test_gradients_in_another_storage_order_are_those_of_the_same_weights() -> None:
    model, masks = pruned(channels_last=True)
    backward(model)
    before = clip(model, masks, 1e9)
    for name in masks:
        weight = model.get_parameter(name)
        assert weight.grad is not None
        assert not weight.is_contiguous()
        weight.grad = torch.where(masks[name], weight.grad, 7.0).contiguous()
    assert clip(model, masks, 1e9).item() == pytest.approx(before.item(), rel=1e-6)
    for name in masks:
        grad = model.get_parameter(name).grad
        assert grad is not None
        assert torch.equal(grad != 0, masks[name])
