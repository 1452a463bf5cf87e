"""theta <- m ? source : +0 by the native CPU kernel."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import native
from impcore.ops.cpu.threads import threads


def rewind(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Writes the source (or the weights themselves) where the mask is 1, and +0 elsewhere."""
    _C.rewind(
        native.operands(weights),
        chunks.data_ptr(),
        chunks.shape[0],
        native.operands(source),
        mask.data_ptr(),
        threads(mask.numel()),
    )
