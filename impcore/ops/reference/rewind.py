"""theta <- m ? source : +0, by torch.where."""

from __future__ import annotations

import torch

from impcore.ops.reference import storage


def rewind(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Writes the source (or the weights themselves) where the mask is 1, and +0 elsewhere."""
    table = storage.tensor_table(chunks, len(weights))
    for (word, _), weight, values in zip(table, weights, source or weights, strict=True):
        alive = torch.from_numpy(storage.mask_of(mask, word, weight.numel())).to(weight.device)
        flat = storage.flat(weight)
        flat.copy_(torch.where(alive, storage.flat(values), torch.zeros_like(flat)))
