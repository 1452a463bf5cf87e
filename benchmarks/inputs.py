"""Weights that a selection may find hard, and weights of any number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import shapes
import torch

Make = Callable[[str, torch.device], list[torch.Tensor]]


def split(size: int, tensors: int, device: torch.device) -> list[torch.Tensor]:
    """`size` normal values in so many tensors, each with another scale."""
    generator = torch.Generator(device).manual_seed(0)
    ends = [size * i // tensors for i in range(tensors + 1)]
    return [
        torch.randn(end - start, 1, generator=generator, device=device).mul_(0.01 + i % 7 * 0.005)
        for i, (start, end) in enumerate(pairwise(ends))
    ]


def _drawn(change: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    return lambda name, device: [change(w) for w in shapes.weights(name, device=device)]


def _sorted(name: str, device: torch.device) -> list[torch.Tensor]:
    """Magnitudes that rise over the whole network."""
    weights = shapes.weights(name, device=device)
    ordered = torch.cat([w.flatten() for w in weights]).abs_().sort().values
    parts = ordered.split([w.numel() for w in weights])
    return [p.view(w.shape).clone() for p, w in zip(parts, weights, strict=True)]


def _giant_constant(name: str, device: torch.device) -> list[torch.Tensor]:
    """Nine tenths of the weights are one constant layer, inside the range of the others."""
    weights = shapes.weights(name, device=device)
    rest = sum(w.numel() for w in weights) // 10
    return [torch.full((9 * rest, 1), 0.01, device=device), *split(rest, 4, device)]


ADVERSARIAL: dict[str, Make] = {
    "all-equal": _drawn(lambda w: torch.full_like(w, 0.5)),
    "two-values": _drawn(lambda w: torch.where(w > 0, 0.25, -0.5)),
    "narrow-range": _drawn(lambda w: w.uniform_(128.6, 128.7)),
    "sorted": _sorted,
    "giant-constant": _giant_constant,
    "bfloat16": _drawn(lambda w: w.bfloat16()),
}
"""By name, what makes the weights of a network's shapes."""
