"""Scores drawn at random: the control that every other score is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from impcore.integers import checked
from impcore.scores.gradients import targets


def random(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Uniform scores in [0, 1): float32 by parameter name, on the CPU.

    They depend on the seed, the parameter's name and its shape alone, not on device, memory format
    or other parameters. The same seed gives the same scores again, so that iterated pruning under
    it is pruning in one fixed random order.

    Raises:
        ValueError: there is nothing to prune, or the seed is no integer.
    """
    return draw(targets(model), seed)


def draw(named: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """`random` for these tensors."""
    seed = checked("seed", seed)  # its digits are hashed, as Python prints them
    scores = {}
    for name, tensor in named.items():
        key = hashlib.sha256(f"impcore scores {seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        shape = tensor.shape
        scores[name] = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
    return scores
