"""What the optimisers' steps on the CPU share."""

from __future__ import annotations

import torch


def is_skipped(found_inf: torch.Tensor | None) -> bool:
    """Whether GradScaler found infinities, on the host."""
    return found_inf is not None and bool(found_inf.item() != 0)
