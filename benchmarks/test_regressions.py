"""The hot paths under pytest-benchmark, to compare commits (`pytest benchmarks/`).

What they are worth against opponents and floors is the business of the bench_*.py scripts.
"""

from __future__ import annotations

import pytest
import shapes
import torch

import impcore
from impcore import ops

NETWORKS = ["resnet20", "resnet50"]


@pytest.mark.parametrize("name", NETWORKS)
def test_prune_global(benchmark, name):
    """A whole prune; rate 0 does the same work each time."""
    model = shapes.model(name)
    impcore.prune_global(model, rate=0.2)
    masks = benchmark(impcore.prune_global, model, 0.0)
    assert masks.remaining == masks.total - round(0.2 * masks.total)


@pytest.mark.parametrize("name", NETWORKS)
def test_block_l1(benchmark, name):
    """The block sums alone."""
    masks = impcore.prune_global(shapes.model(name), rate=0.2)
    sums = benchmark(ops.block_l1, masks.plan, masks.weights, masks.words)
    assert int(sums[1].sum()) == masks.remaining


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["MaskedSGD", "MaskedAdamW"])
def test_step(benchmark, name, kind):
    """A masked optimiser step."""
    model = shapes.model(name)
    masks = impcore.prune_global(model, rate=0.5)
    options = {"momentum": 0.9} if kind == "MaskedSGD" else {}
    optimizer = getattr(impcore, kind)(model.parameters(), lr=1e-3, masks=masks, **options)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    benchmark(optimizer.step)
    pruned = ~masks[masks.names[0]]
    assert not masks.parameters[0][pruned].any()
