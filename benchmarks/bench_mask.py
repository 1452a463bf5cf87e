"""Exact global pruning against everything a user could pick instead.

    python benchmarks/bench_mask.py            ResNet-50 and BERT-base, a minute or two
    python benchmarks/bench_mask.py --quick    ResNet-20, seconds

Correctness is checked first, against a stable sort. The floor is a bare read of the weights
followed by a bare read-modify-write, measured in turns with the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness
import opponents
import shapes
import torch
from floors import Floors
from torch import nn

import impcore
from impcore import ops

RATE = 0.2


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


def compare(name: str, repeats: int, slow_repeats: int) -> harness.Comparison:
    """Times one prune of 20 % of a network's weights by every contender."""
    model = shapes.model(name)
    check(model)
    weights = [p.detach() for p in model.parameters()]
    pristine = [w.clone() for w in weights]
    masks = impcore.Masks(model)
    full = masks.state_dict()
    total = masks.total
    count = round(RATE * total)

    def reset() -> None:
        masks.load_state_dict(full)
        for weight, original in zip(weights, pristine, strict=True):
            weight.copy_(original)

    victim: list[nn.Module] = []

    def fresh_model() -> None:
        victim[:] = [shapes.model(name)]

    floors = Floors(weights)
    cases = [
        harness.Case("impcore.prune_global", lambda: impcore.prune_global(model, RATE), reset),
        harness.Case("floor", floors.read_then_update),
        *_opponents(weights, count, reset, slow_repeats),
        harness.Case(
            "torch.nn.utils.prune",
            lambda: opponents.torch_prune(victim[0], count),
            fresh_model,
            slow_repeats,
        ),
    ]
    return harness.Comparison(
        op=f"prune_global {name}",
        dtype="float32",
        n=total,
        density=1.0,
        bytes=total * 12.25,
        floor="floor",
        ms=harness.measure(cases, repeats),
    )


def _opponents(
    weights: list[torch.Tensor], count: int, reset: Callable[[], None], repeats: int
) -> list[harness.Case]:
    return [
        harness.Case(title, partial(function, weights, count), reset, repeats)
        for title, function in opponents.FUNCTIONS.items()
    ]


def main() -> None:
    """Parses the command line, measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small network, seconds")
    parser.add_argument("--out", type=Path, default=harness.RESULTS / "mask.json")
    arguments = parser.parse_args()
    names = ["resnet20"] if arguments.quick else ["resnet50", "bert-base"]
    about = harness.machine()
    results = [compare(name, repeats=15, slow_repeats=3) for name in names]
    harness.show(results, about)
    harness.save("mask", results, about, arguments.out)


if __name__ == "__main__":
    main()
