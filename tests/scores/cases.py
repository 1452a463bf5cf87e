"""Small smooth networks and what brute force says about them, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

Batch = tuple[Tensor, Tensor]


def smooth(seed: int = 0) -> nn.Module:
    """A convolution, BatchNorm and two Linear layers, differentiable everywhere."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 2),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.Tanh(),
        nn.Linear(4, 3),
    )


def batches(count: int = 2, seed: int = 1) -> list[Batch]:
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(5, 2, 3, 3, generator=rng), torch.randint(0, 3, (5,), generator=rng))
        for _ in range(count)
    ]


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def total_loss(model: nn.Module, data: list[Batch]) -> Callable[[dict[str, Tensor]], Tensor]:
    """The summed loss as a function of some parameters, in float64, with BatchNorm on the batch."""
    rest = {name: p.detach().double() for name, p in model.named_parameters()}
    rest |= {name: b.clone().double() for name, b in model.named_buffers() if b.is_floating_point()}

    def value(parameters: dict[str, Tensor]) -> Tensor:
        state = rest | parameters
        outputs = [functional_call(model, state, (x.double(),)) for x, _ in data]
        terms = [nn.functional.cross_entropy(y, t) for y, (_, t) in zip(outputs, data, strict=True)]
        return torch.stack(terms).sum()

    return value


def tiny(weights: list[float]) -> nn.Module:
    """One output: the weights' product with the input."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def half_square(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x) ** 2).sum() / 2


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Everything that scoring must leave alone."""
    state = {name: t.detach().clone() for name, t in model.state_dict().items()}
    state |= {
        f"grad {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }
    return state | {f"mode {n}": torch.tensor(m.training) for n, m in model.named_modules()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
