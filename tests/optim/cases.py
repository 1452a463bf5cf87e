"""Small models, gradients without a loss, and comparisons that the optimiser tests share."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from impcore import MaskedAdamW, MaskedSGD, Masks


@dataclass(frozen=True)
class Kind:
    """An optimiser, PyTorch's own, and options that use much of it.

    scaling: what makes PyTorch's count skipped steps as ours does. state: a key of its state.
    """

    ours: Any
    theirs: Any
    heavy: dict[str, Any]
    scaling: dict[str, Any]
    state: str

    def __repr__(self) -> str:
        return self.theirs.__name__

    @property
    def unchecked(self) -> str:
        """Where the kernel's call can be patched."""
        return f"{self.ours.__module__}.unchecked"


SGD = Kind(
    MaskedSGD,
    torch.optim.SGD,
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2},
    {},
    "momentum_buffer",
)
ADAMW = Kind(
    MaskedAdamW,
    torch.optim.AdamW,
    {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True},
    {"fused": True},
    "exp_avg_sq",
)
both_kinds = pytest.mark.parametrize("kind", [SGD, ADAMW], ids=repr)


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Masked and unmasked parameters, of odd sizes, a scalar and an empty one among them."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5)
    )
    model.register_parameter("scalar", nn.Parameter(torch.randn(())))
    model.register_parameter("empty", nn.Parameter(torch.randn(0, 3)))
    return model.to(dtype)


def triple(dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, ...]:
    """The same model three times: for us, for torch, and in float64 from the same values."""
    ours = net(dtype=dtype)
    return ours, copy.deepcopy(ours), copy.deepcopy(ours).double()


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


def errors_of_a_run(
    kind: Kind, steps: int, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[float, float]:
    """How far from a float64 run ours under all-ones masks and PyTorch's end, on one model."""
    ours, theirs, exact = triple(dtype)
    mine = kind.ours(ours.parameters(), masks=Masks(ours), **options)
    others = [kind.theirs(m.parameters(), **options) for m in (theirs, exact)]
    for step in range(steps):
        set_gradients([ours, theirs, exact], step)
        for optimizer in (mine, *others):
            optimizer.step()
    return error(ours, exact), error(theirs, exact)


def through_a_file(pair: Any) -> Any:
    """A copy by pickle, like copy.deepcopy."""
    buffer = io.BytesIO()
    torch.save(pair, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def check_close(ours: nn.Module, theirs: nn.Module, rtol: float = 1e-5, atol: float = 2e-6) -> None:
    """Parameters that differ by roundings at most."""
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def bytes_of(model: nn.Module) -> list[bytes]:
    """The parameters' bytes."""
    flat = [p.detach().flatten() for p in model.parameters()]
    return [p.contiguous().view(torch.uint8).numpy().tobytes() for p in flat]


def check_refused(kind: Kind, options: dict[str, Any], message: str, torch_too: bool) -> None:
    """Options that neither a new optimiser nor a new group may have."""
    params = [nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=message):
        kind.ours(params, **options)
    if torch_too:
        with pytest.raises(ValueError, match=r".+"):
            kind.theirs(params, **options)
    optimizer = kind.ours(params)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


def check_dead(masks: Masks, optimizer: torch.optim.Optimizer) -> None:
    """Pruned weights and their states are +0, to the bit."""
    for name, param in zip(masks.names, masks.parameters, strict=True):
        state = optimizer.state.get(param, {})
        for values in (param.detach(), *state.values()):
            if values.shape == param.shape:
                dead = values[~masks[name]]
                assert not dead.signbit().any()
                assert (dead == 0).all()
