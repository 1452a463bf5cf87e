"""The masked optimisers' steps against torch.optim's fused and foreach ones, dense and masked.

    python benchmarks/bench_optim.py            ResNet-50 and BERT-base, two minutes
    python benchmarks/bench_optim.py --quick    ResNet-20, seconds

Checked first against torch.optim. All contenders step the same weights and gradients, with states
of their own. The floor is a bare loop that reads the gradients and reads and writes weights and
states; where nearly all is dead, a step can undercut it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import harness
import shapes
import torch
from floors import Floors
from torch import nn

import impcore

DENSITIES = (1.0, 0.5, 0.1, 0.02)


@dataclass(frozen=True)
class Kind:
    """An optimiser, PyTorch's own, options for both, and how many states each weight has."""

    ours: Any
    theirs: Any
    options: dict[str, Any]
    states: int


KINDS = (
    Kind(
        impcore.MaskedSGD,
        torch.optim.SGD,
        {"lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-4},
        1,
    ),
    Kind(impcore.MaskedAdamW, torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 1e-2}, 2),
)


def give_gradients(parameters: list[nn.Parameter]) -> None:
    """Normal gradients, small beside the weights."""
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 1e-3


def twins(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters in the same memory that no Masks know."""
    out = [nn.Parameter(p.detach()) for p in parameters]
    for twin, parameter in zip(out, parameters, strict=True):
        twin.grad = parameter.grad
    return out


def check(kind: Kind, density: float) -> None:
    """Raises unless three steps are torch.optim's, and +0 where the mask is 0."""
    model, dense = shapes.model("resnet20"), shapes.model("resnet20")
    masks = impcore.prune_global(model, rate=1 - density)
    give_gradients(list(model.parameters()))
    give_gradients(list(dense.parameters()))
    optimizers = [
        kind.ours(model.parameters(), masks=masks, **kind.options),
        kind.theirs(dense.parameters(), **kind.options),
    ]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.step()
    for mask, ours, theirs in zip(
        masks.values(), model.parameters(), dense.parameters(), strict=True
    ):
        if not torch.allclose(ours[mask], theirs[mask], rtol=1e-5, atol=1e-7) or ours[~mask].any():
            raise SystemExit(f"{kind.ours.__name__} differs from torch.optim: nothing is timed")


def compare(name: str, kind: Kind, density: float, repeats: int) -> harness.Comparison:
    """Times one step of a network's weights."""
    check(kind, density)
    model = shapes.model(name)
    masks = impcore.prune_global(model, rate=1 - density)
    parameters = list(model.parameters())
    give_gradients(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    ours = kind.ours(parameters, masks=masks, **kind.options)
    ours.step()
    kept = [v for state in ours.state.values() for v in state.values() if v.dim()]
    states = [kept[i :: kind.states] for i in range(kind.states)]
    reads = Floors(gradients)
    updates = [Floors(row) for row in ([p.detach() for p in parameters], *states)]
    cases = [
        harness.Case(f"impcore.{kind.ours.__name__}", ours.step),
        harness.Case("floor", lambda: reads.read_and_update(updates)),
        *_opponents(kind, twins(parameters), list(masks.values())),
    ]
    return harness.Comparison(
        op=f"{kind.ours.__name__} {name}",
        dtype="float32",
        n=masks.total,
        density=density,
        bytes=masks.total * (12.125 + 8 * kind.states),
        floor="floor",
        ms=harness.measure(cases, repeats),
    )


def _opponents(
    kind: Kind, parameters: list[nn.Parameter], masks: list[torch.Tensor]
) -> list[harness.Case]:
    """PyTorch's steps, and those that a user lets a multiplication by the masks follow.

    Bool masks take a byte a weight, float masks four and are faster. Only the last one leaves the
    states at 0 too, as ours does.
    """
    fused = kind.theirs(parameters, fused=True, **kind.options)
    foreach = kind.theirs(parameters, foreach=True, **kind.options)
    fused.step()
    weights = [p.detach() for p in parameters]
    states = [v for state in fused.state.values() for v in state.values() if v.dim()]
    floats = [mask.float() for mask in masks]
    for_states = [mask for mask in floats for _ in range(kind.states)]

    def then(*products: tuple[list[torch.Tensor], list[torch.Tensor]]) -> Callable[[], None]:
        def run() -> None:
            fused.step()
            for values, factors in products:
                torch._foreach_mul_(values, factors)

        return run

    return [
        harness.Case("torch fused, dense", fused.step),
        harness.Case("torch fused, then bool masks", then((weights, masks))),
        harness.Case("torch fused, then float masks", then((weights, floats))),
        harness.Case("the same, on states too", then((weights, floats), (states, for_states))),
        harness.Case("torch foreach, dense", foreach.step),
    ]


def compare_all(quick: bool) -> list[harness.Comparison]:
    """ResNet-20, or ResNet-50 and BERT-base, dense and at what later rounds leave."""
    names = ["resnet20"] if quick else ["resnet50", "bert-base"]
    return [
        compare(name, kind, density, 101 if quick else 15)
        for name in names
        for kind in KINDS
        for density in DENSITIES
    ]


if __name__ == "__main__":
    harness.command_line("optim", __doc__, compare_all)
