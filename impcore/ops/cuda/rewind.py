"""theta <- m ? source : +0 by the CUDA kernel."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops.cuda import launch, tables


def rewind(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Writes the source (or the weights themselves) where the mask is 1, and +0 elsewhere."""
    with launch.on(mask.device) as stream:
        targets, _kept = tables.weights(chunks, weights, stream)
        sources = tables.addresses(source, mask.device, stream) if source else None
        _C.cuda.rewind(
            targets, 0 if sources is None else sources.data_ptr(), mask.data_ptr(), stream
        )
