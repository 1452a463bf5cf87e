"""Exact global pruning against everything a user could pick instead.

    python benchmarks/bench_mask.py            ResNet-50 and BERT-base, a minute or two
    python benchmarks/bench_mask.py --quick    ResNet-20, seconds

Correctness is checked first, against a stable sort. The floor is a bare read of the weights
followed by a bare read-modify-write, measured in turns with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import harness
import opponents
import shapes
import torch
from floors import Floors
from torch import nn

import impcore
from impcore import ops

RATE = 0.2
DENSITIES = (1.0, 0.5, 0.1, 0.02)
SLOW_REPEATS = 3  # for contenders that take seconds


def check(model: nn.Module) -> None:
    """Raises unless one prune of `model` equals the reference backend's, bit for bit."""
    weights = [p.detach().clone() for p in model.parameters()]
    masks = impcore.prune_global(model, rate=RATE)
    plan = masks.plan
    ones = impcore.Masks(model).words.clone()
    expected = torch.empty_like(ones)
    keys = torch.cat([w.flatten().view(torch.int32) & 0x7FFFFFFF for w in weights])
    pruned = torch.zeros(keys.numel(), dtype=torch.bool)
    pruned[torch.sort(keys, stable=True).indices[: round(RATE * plan.total)]] = True
    for i, alive in enumerate((~pruned).split([w.numel() for w in weights])):
        words = ops.bits.pack(alive)
        expected[plan.words[i] : plan.words[i] + words.numel()] = words
    if not torch.equal(masks.words, expected):
        raise SystemExit("prune_global differs from a stable sort: nothing is timed")
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data.copy_(weight)


def compare(name: str, density: float, repeats: int) -> harness.Comparison:
    """Times one prune of 20 % of a network's remaining weights by every contender."""
    model = shapes.model(name)
    check(model)
    masks = impcore.prune_global(model, rate=1 - density)
    weights = [p.detach() for p in model.parameters()]
    pristine = [w.clone() for w in weights]
    state = masks.state_dict()

    def reset() -> None:
        for weight, original in zip(weights, pristine, strict=True):
            weight.copy_(original)
        masks.load_state_dict(state)

    floors = Floors(weights)
    cases = [
        harness.Case("impcore.prune_global", lambda: impcore.prune_global(model, RATE), reset),
        harness.Case("floor", floors.read_then_update),
    ]
    if density == 1:
        cases += _opponents(name, weights, round(RATE * masks.total), reset)
    return harness.Comparison(
        op=f"prune_global {name}",
        dtype="float32",
        n=masks.total,
        density=density,
        bytes=masks.total * 12.25,
        floor="floor",
        ms=harness.measure(cases, repeats),
    )


def _opponents(
    name: str, weights: list[torch.Tensor], count: int, reset: Callable[[], None]
) -> list[harness.Case]:
    cases = [
        harness.Case(title, partial(function, weights, count), reset, SLOW_REPEATS)
        for title, function in opponents.FUNCTIONS.items()
    ]
    victim: list[nn.Module] = []

    def fresh_model() -> None:
        victim[:] = [shapes.model(name)]

    def torch_prune() -> None:
        opponents.torch_prune(victim[0], count)

    return [*cases, harness.Case("torch.nn.utils.prune", torch_prune, fresh_model, SLOW_REPEATS)]


def compare_all(quick: bool) -> list[harness.Comparison]:
    """ResNet-20, or ResNet-50 and BERT-base, dense and at what later rounds leave."""
    names = ["resnet20"] if quick else ["resnet50", "bert-base"]
    return [compare(name, density, 15) for name in names for density in DENSITIES]


if __name__ == "__main__":
    harness.command_line("mask", __doc__, compare_all)
