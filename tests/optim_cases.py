"""Small models, gradients without a loss, and comparisons that the optimiser tests share."""

from __future__ import annotations

import torch
from torch import nn

from impcore import Masks


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Masked and unmasked parameters, of odd sizes, a scalar and an empty one among them."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5)
    )
    model.register_parameter("scalar", nn.Parameter(torch.randn(())))
    model.register_parameter("empty", nn.Parameter(torch.randn(0, 3)))
    return model.to(dtype)


def pruned(model: nn.Module, density: float = 0.5, seed: int = 1) -> Masks:
    """Masks of which about half the bits are 0."""
    masks = Masks(model)
    gen = torch.Generator().manual_seed(seed)
    for name in masks.names:
        masks[name] = torch.rand(masks[name].shape, generator=gen) < density
    return masks


def set_gradients(models: list[nn.Module], seed: int, scale: float = 1.0) -> None:
    """The same normal gradients for every model, in each one's dtype and layout."""
    gen = torch.Generator().manual_seed(seed)
    for params in zip(*(m.parameters() for m in models), strict=True):
        values = torch.randn(params[0].shape, generator=gen, dtype=torch.float64) * scale
        values = values.to(min((p.dtype for p in params), key=lambda d: torch.finfo(d).bits))
        for param in params:
            param.grad = torch.empty_like(param).copy_(values)


def error(model: nn.Module, exact: nn.Module) -> float:
    """The largest deviation of any parameter from the same one of a float64 model."""
    pairs = zip(model.parameters(), exact.parameters(), strict=True)
    return max(float((p.detach().double() - q.detach()).abs().max()) for p, q in pairs if p.numel())


def check_dead(masks: Masks, optimizer: torch.optim.Optimizer) -> None:
    """Pruned weights and their momenta are +0, to the bit."""
    for name, param in zip(masks.names, masks.parameters, strict=True):
        state = optimizer.state.get(param, {})
        for values in (param.detach(), state.get("momentum_buffer")):
            if values is not None:
                dead = values[~masks[name]]
                assert not dead.signbit().any()
                assert (dead == 0).all()
