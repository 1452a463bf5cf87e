"""The block sums of the magnitude flow against the ways to get them from torch.

    python benchmarks/bench_block_l1.py            ResNet-50 and BERT-base
    python benchmarks/bench_block_l1.py --quick    ResNet-20, seconds

Checked first against float64 sums. The floor is a bare read of the weights. "inside prune_global"
is what recording the flow adds to a prune: the difference of two prunes, one with flow=.
"""

from __future__ import annotations

import harness
import shapes
import torch
from floors import Floors

import impcore
from impcore import ops

DENSITIES = (1.0, 0.5, 0.1, 0.02)


def compare(name: str, density: float, repeats: int) -> harness.Comparison:
    """Times the sums of |m theta| of each tensor of a network."""
    model = shapes.model(name)
    masks = impcore.prune_global(model, rate=1 - density)
    weights, words = masks.weights, masks.words
    bools = [masks[key] for key in masks]
    floats = [mask.float() for mask in bools]

    def product() -> list[torch.Tensor]:
        return [(m * w).abs().sum() for m, w in zip(floats, weights, strict=True)]

    def norm() -> list[torch.Tensor]:
        return [torch.linalg.vector_norm(w, 1) for w in weights]

    got = ops.block_l1(masks.plan, weights, words)[0]
    expected = torch.stack([w.double().abs().sum() for w in weights])
    if not torch.allclose(got, expected, rtol=1e-12, atol=0):
        raise SystemExit("block_l1 differs from float64 sums: nothing is timed")
    floors = Floors(weights)
    cases = [
        harness.Case("impcore.ops.block_l1", lambda: ops.block_l1(masks.plan, weights, words)),
        harness.Case("floor", floors.read),
        harness.Case("(m * w).abs().sum()", product),
        harness.Case("vector_norm(w, 1), unmasked", norm),
    ]
    return harness.Comparison(
        op=f"block_l1 {name}",
        dtype="float32",
        n=masks.total,
        density=density,
        bytes=masks.total * 4.125,
        floor="floor",
        ms=harness.measure(cases, repeats),
    )


def inside_prune(name: str, repeats: int) -> harness.Comparison:
    """Times a prune with and without a flow that records it (rate 0: it can be repeated)."""
    model = shapes.model(name)
    masks = impcore.Masks(model)
    flow = impcore.Flow(masks)
    floors = Floors(masks.weights)
    cases = [
        harness.Case("prune_global, flow=", lambda: impcore.prune_global(model, 0.0, flow=flow)),
        harness.Case("prune_global", lambda: impcore.prune_global(model, 0.0)),
        harness.Case("floor", floors.read),
    ]
    return harness.Comparison(
        op=f"inside prune_global {name}",
        dtype="float32",
        n=masks.total,
        density=1.0,
        bytes=masks.total * 12.25,
        floor="floor",
        ms=harness.measure(cases, repeats),
    )


def compare_all(quick: bool) -> list[harness.Comparison]:
    """ResNet-20, or ResNet-50 and BERT-base, at several densities."""
    names = ["resnet20"] if quick else ["resnet50", "bert-base"]
    alone = [compare(name, density, 21) for name in names for density in DENSITIES]
    return [*alone, *(inside_prune(name, 21) for name in names)]


if __name__ == "__main__":
    harness.command_line("block_l1", __doc__, compare_all)
